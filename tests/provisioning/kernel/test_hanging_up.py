"""A ROUTER hangs up on its clients, and all that they had sent was received; another one answers for it."""
# ruff: noqa: ASYNC110 - libzmq tells nobody that a client is there
# ruff: noqa: PGH005 - an Audience is no mock

import asyncio
import os
import socket
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import zmq

from podflare_nb.provisioning.kernel import hanging_up, late_answers
from podflare_nb.provisioning.kernel.audience import Audience
from podflare_nb.provisioning.kernel.hanging_up import hang_up
from podflare_nb.provisioning.kernel.late_answers import LateAnswers, sealed, unsealed

SECONDS = 60
CLIENTS = 5


class Router:
    """As a kernel's shell: on a listening socket that has a name, which another one may take."""

    def __init__(self, context, directory, number):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(f"{directory}/{number}")
        sock.listen()
        os.rename(f"{directory}/{number}", f"{directory}/s")  # noqa: PTH104
        self.listener = sock.detach()
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.router_handover = 1
        self.socket.setsockopt(zmq.USE_FD, self.listener)
        self.socket.bind(f"ipc:///{number}")
        self.got = []

    def receive(self):
        with suppress(zmq.Again):
            while True:
                self.got.append(self.socket.recv_multipart(zmq.NOBLOCK))

    def receive_one(self):
        assert self.socket.poll(SECONDS * 1000)
        return self.socket.recv_multipart()


@pytest.fixture
def context():
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture(autouse=True)
def time_enough(monkeypatch):
    """For clients on a busy machine."""
    monkeypatch.setattr(hanging_up, "SECONDS", SECONDS)


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(prefix="pfnb-", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture
def routers(context, directory):
    """One; the next ones are put here, too."""
    made = [Router(context, directory, 0)]
    yield made
    for each in made:
        each.socket.close(0)


@pytest.fixture
def router(routers):
    return routers[0]


def dealer(context, directory, identity):
    made = context.socket(zmq.DEALER)
    made.linger = 0
    made.identity = identity
    made.connect(f"ipc://{directory}/s")
    return made


class Steady(threading.Thread):
    """A client that sends number after number, until it is told to stop."""

    def __init__(self, directory, identity):
        super().__init__(daemon=True)
        self.directory, self.identity = directory, identity
        self.sent = 0
        self.stopped = threading.Event()

    def run(self):
        context = zmq.Context()
        client = dealer(context, self.directory, self.identity)
        while not self.stopped.wait(0.0002):  # libzmq would lose what it has half written, were there more than it can
            client.send(b"%d" % self.sent)
            self.sent += 1
        context.destroy(linger=SECONDS * 1000)


def test_what_clients_send_while_one_hangs_up_is_received_by_it_or_by_the_next_one(context, directory, routers):
    clients = [Steady(directory, b"client %d" % number) for number in range(CLIENTS)]
    for each in clients:
        each.start()
    for number in range(1, 6):
        routers[-1].got.append(routers[-1].receive_one())
        routers.append(Router(context, directory, number))
        hang_up(routers[-2].socket, routers[-2].listener, routers[-2].receive)
        routers[-2].socket.close(0)
    for each in clients:
        each.stopped.set()
    last = routers[-1]
    while sum(len(each.got) for each in routers) < sum(each.sent for each in clients):
        last.got.append(last.receive_one())
    for each in clients:
        each.join(SECONDS)
    received = Counter((identity, int(number)) for each in routers for identity, number in each.got)
    assert received == Counter((each.identity, number) for each in clients for number in range(each.sent))


def test_what_was_sent_to_clients_before_arrives(context, directory, router):
    with dealer(context, directory, b"client") as client:
        client.send(b"question")
        identity, _ = router.receive_one()
        for number in range(500):
            router.socket.send_multipart([identity, b"%d" % number])
        hang_up(router.socket, router.listener, router.receive)
        assert [client.recv() for _ in range(500)] == [b"%d" % number for number in range(500)]


def test_a_client_that_does_not_close_its_side_is_not_waited_for_for_ever(directory, router, monkeypatch):
    monkeypatch.setattr(hanging_up, "SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as stubborn:
        stubborn.connect(f"{directory}/s")
        assert stubborn.recv(1)  # ZeroMQ's greeting: it is accepted
        hang_up(router.socket, router.listener, router.receive)
        while stubborn.recv(100):
            pass
        stubborn.send(b"more")  # and yet its connection is there


async def test_answers_for_clients_of_another_one_wait_until_these_are_there(context, directory, router):
    answers = LateAnswers(router.socket, asyncio.get_running_loop())
    answers.deliver(unsealed(sealed([[b"late", b"\xff\x00 one"], [b"never", b"two"], [b"late", b"three"]])))
    assert len(answers.undelivered) == 3
    with dealer(context, directory, b"late") as client:
        async with asyncio.timeout(SECONDS):
            while len(answers.undelivered) > 1:
                await asyncio.sleep(0.001)
        assert [client.recv(), client.recv()] == [b"\xff\x00 one", b"three"]
    assert answers.undelivered == [[b"never", b"two"]]
    router.socket.send_multipart([b"never", b"dropped as ever"])  # and no error


async def test_answers_are_not_kept_for_ever(router, monkeypatch):
    monkeypatch.setattr(late_answers, "SECONDS", 0.0)
    loop = asyncio.get_running_loop()
    scheduled = []
    monkeypatch.setattr(loop, "call_later", lambda *call: scheduled.append(call))
    LateAnswers(router.socket, loop).deliver([[b"never", b"one"]])
    assert scheduled == []


@pytest.mark.parametrize("content", [b"", b"{", b"3", b"[3]", b"[[3]]", b'[["\xc4\x80"]]', b"[" * 100_000])
def test_what_holds_no_answers_is_refused_and_closed(content):
    fd = os.memfd_create("hostile")
    os.write(fd, content)
    with pytest.raises(ValueError):  # noqa: PT011 - json's own, or a UnicodeError
        unsealed(fd)
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)


def test_a_pipe_holds_no_answers_and_is_not_waited_for():
    reading, writing = os.pipe()
    with pytest.raises(ValueError, match="no answers"):
        unsealed(reading)
    os.close(writing)


def test_an_audience_is_complete_when_as_many_have_come_as_there_were_since_then():
    completed = []
    audience = Audience()
    audience.complete = lambda: completed.append(audience.awaited)
    audience.arrive(2)
    assert not audience.awaited
    audience.expect_some()
    audience.arrive(1)
    assert audience.awaited
    audience.expect(3)
    audience.arrive(1)
    assert audience.awaited
    assert completed == []
    audience.arrive(1)
    assert not audience.awaited
    assert completed == [False]
    audience.arrive(1)
    audience.give_up()
    assert completed == [False]


def test_an_audience_that_nobody_is_missing_in_is_not_waited_for():
    completed = []
    for then in (lambda audience: audience.expect(0), Audience.give_up):
        audience = Audience()
        audience.complete = lambda: completed.append(True)
        audience.expect_some()
        assert audience.awaited
        then(audience)
        assert not audience.awaited
    assert completed == [True, True]
