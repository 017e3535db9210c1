"""The order, the sizes and the patience of what is published; no sockets."""

import threading

from podflare_nb.provisioning.kernel.outbox import MAX_TEXT, Outbox, pieces

PARENT = {"msg_id": "1"}


class Port:
    """Takes messages while ``room`` lasts."""

    def __init__(self, room=10**9):
        self.room = room
        self.left = []
        self.lost = []
        self.waiting = []

    def send(self, frames, sent, *, lossy):
        if self.room <= 0:
            if lossy:
                self.lost.append(frames)
            return lossy
        self.room -= 1
        self.left.append(frames)
        sent.extend([0] * len(frames))
        return True

    def greetings(self):
        return [self.waiting.pop()] if self.waiting else []


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now = 0.0
        self.naps = 0
        self.on_nap = lambda: None

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.naps += 1
        self.now += seconds
        self.on_nap()


def make(port, clock=None):
    clock = clock or Clock()
    outbox = Outbox(lambda stream, _parent, text: [stream.encode(), text.encode()], clock=clock, sleep=clock.sleep)
    woken = []
    outbox.connect(port, lambda: woken.append(1))
    return outbox, woken


def test_text_waits_and_is_joined_until_a_message_follows():
    port = Port()
    outbox, woken = make(port)
    outbox.write("stdout", PARENT, "a")
    outbox.write("stdout", PARENT, "b")
    assert (port.left, len(woken)) == ([], 1)
    outbox.publish([b"status"])
    assert port.left == [[b"stdout", b"ab"], [b"status"]]


def test_streams_and_requests_are_kept_apart_in_order():
    port = Port()
    outbox, _ = make(port)
    other = {"msg_id": "1"}
    for stream, parent, text in [("stdout", PARENT, "1"), ("stderr", PARENT, "2"), ("stderr", other, "3")]:
        outbox.write(stream, parent, text)
    outbox.flush()
    assert port.left == [[b"stdout", b"1"], [b"stderr", b"2"], [b"stderr", b"3"]]


def test_streams_that_alternate_without_end_are_joined():
    port = Port()
    outbox, _ = make(port)
    for number in range(10_000):
        outbox.write(("stdout", "stderr")[number % 2], PARENT, "x")
    outbox.flush()
    assert len(port.left) < 100
    assert sum(len(text) for _, text in port.left) == 10_000


def test_long_text_leaves_at_once_in_pieces():
    port = Port()
    outbox, _ = make(port)
    outbox.write("stdout", PARENT, "x" * (3 * MAX_TEXT + 1))
    assert [len(text) for _, text in port.left] == [MAX_TEXT] * 3
    outbox.flush()
    assert len(port.left[-1][1]) == 1


def test_pieces_are_bounded_in_bytes_and_always_valid():
    assert max(len(piece.encode()) for piece in pieces("\N{GRINNING FACE}" * 40_000)) <= MAX_TEXT
    assert "".join(pieces("a\ud800b")) == "a\\ud800b"
    assert list(pieces("")) == []


def test_a_full_port_is_waited_for_and_nothing_is_lost():
    port, clock = Port(room=1), Clock()
    outbox, _ = make(port, clock)

    def drain():
        port.room = clock.naps // 3

    clock.on_nap = drain
    for number in range(5):
        outbox.publish([b"%d" % number])
    assert port.left == [[b"%d" % number] for number in range(5)]
    assert port.lost == []


def test_a_reader_that_never_reads_costs_its_patience_once():
    port, clock = Port(room=0), Clock()
    outbox, _ = make(port, clock)
    outbox.publish([b"1"])
    assert (port.lost, round(clock.now)) == ([[b"1"]], 10)
    outbox.publish([b"2"])
    assert (port.lost, round(clock.now)) == ([[b"1"], [b"2"]], 10)
    port.room = 10
    outbox.publish([b"3"])
    assert port.left == [[b"3"]]


def test_the_spared_thread_never_waits():
    port, clock = Port(room=0), Clock()
    outbox, woken = make(port, clock)
    outbox.spare_this_thread()
    outbox.publish([b"1"])
    assert (clock.naps, len(woken)) == (0, 1)
    port.room = 1
    outbox.flush()
    assert port.left == [[b"1"]]


def test_a_message_that_was_begun_is_completed_first():
    port = Port()
    outbox, _ = make(port)

    class TornError(Exception):
        pass

    def torn(frames, sent, *, lossy):  # noqa: ARG001
        sent.append(0)
        raise TornError

    whole, port.send = port.send, torn
    try:
        outbox.publish([b"a", b"b"])
    except TornError:
        port.send = whole
    outbox.publish([b"c"])
    assert port.left == [[b"a", b"b"], [b"c"]]


def test_a_new_subscriber_is_greeted_after_what_was_queued():
    port = Port()
    outbox, _ = make(port)
    port.waiting.append([b"welcome"])
    outbox.publish([b"a"])
    assert port.left == [[b"a"], [b"welcome"]]


def test_flush_is_due_only_once_in_a_moment():
    port, clock = Port(), Clock()
    outbox, _ = make(port, clock)
    clock.now = 1.0
    for text in "abc":
        outbox.write("stdout", PARENT, text)
        outbox.flush_if_due()
    assert port.left == [[b"stdout", b"a"]]
    clock.now = 1.1
    outbox.flush_if_due()
    assert port.left == [[b"stdout", b"a"], [b"stdout", b"bc"]]


def test_a_template_drops_what_it_prints():
    outbox, _ = make(None)
    outbox.write("stdout", PARENT, "x")
    outbox.publish([b"a"])
    port = Port()
    outbox.connect(port, lambda: None)
    outbox.publish([b"b"])
    assert port.left == [[b"b"]]


def test_threads_lose_and_repeat_nothing():
    port = Port()
    outbox, _ = make(port)

    def write(mark):
        for _ in range(2000):
            outbox.write("stdout", PARENT, mark)
        outbox.flush()

    threads = [threading.Thread(target=write, args=(mark,)) for mark in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = b"".join(text for _, text in port.left)
    assert sorted(text) == sorted(b"abcd" * 2000)
