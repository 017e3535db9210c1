"""PyPI's ``podflare``, as it was published, against our service: its whole ``pty``. Nothing is patched."""

import base64
import threading

import podflare
import pytest

SECONDS = 60


class Screen:
    """What a terminal said, for tests that wait for a part of it."""

    def __init__(self):
        self.said = b""
        self.codes = []
        self._changed = threading.Condition()

    def on_data(self, data):
        with self._changed:
            self.said += data
            self._changed.notify_all()

    def on_exit(self, code):
        self.codes.append(code)

    def until(self, part):
        with self._changed:
            assert self._changed.wait_for(lambda: part in self.said, SECONDS), self.said


@pytest.fixture(scope="module")
def published(service):
    with podflare.Sandbox(host=service.url, api_key=service.key, template="python-minimal") as sandbox:
        yield sandbox


@pytest.fixture
def screen():
    return Screen()


def create(sandbox, screen, cmd, **more):
    return sandbox.pty.create(cmd=cmd, on_data=screen.on_data, on_exit=screen.on_exit, **more)


def test_its_terminal_is_a_real_one_of_the_size_that_it_asks_for(published, screen):
    pty = create(published, screen, "tty; stty size; exit 3", cols=120, rows=40)
    assert pty.wait(SECONDS) == 3
    assert screen.said == b"/dev/pts/0\r\n40 120\r\n"
    assert screen.codes == [3]


def test_it_types_text_and_bytes_and_hears_the_answer(published, screen):
    pty = create(published, screen, ["bash", "--norc", "-i"], env={"PS1": "> "})
    screen.until(b"> ")
    pty.send_input("echo $((6 * 7)) 'ü'\r")
    screen.until("42 ü".encode())
    pty.send_input(b"sleep 1000\r")
    screen.until(b"sleep 1000\r\n")
    pty.kill()
    assert pty.wait(SECONDS) == 137


def test_it_interrupts_a_program_by_a_byte(published, screen):
    pty = create(published, screen, ["sleep", "1000"])
    pty.send_input(b"\x03")
    assert pty.wait(SECONDS) == 130


def test_it_has_environment_and_directory(published, screen):
    pty = create(published, screen, "echo $WHO; pwd", env={"WHO": "me"}, cwd="/usr/lib")
    assert pty.wait(SECONDS) == 0
    assert screen.said == b"me\r\n/usr/lib\r\n"


def test_its_resize_reaches_the_program(published, screen):
    source = "import os, signal as s; s.pthread_sigmask(s.SIG_BLOCK, {28}); print('r', flush=True); s.sigwait({28})"
    pty = create(published, screen, ["python", "-c", f"{source}; print(os.get_terminal_size())"])
    screen.until(b"r")
    pty.resize(cols=200, rows=50)
    assert pty.wait(SECONDS) == 0
    assert b"columns=200, lines=50" in screen.said


def test_its_list_has_the_terminals_with_their_exit_codes(published, screen):
    alive = create(published, screen, ["sleep", "1000"])
    over = create(published, Screen(), "exit 9")
    assert over.wait(SECONDS) == 9
    listed = {info.pty_id: info for info in published.pty.list()}
    assert (listed[alive.id].cmd_label, listed[alive.id].exit_code) == ("sleep 1000", None)
    assert (listed[over.id].cmd_label, listed[over.id].exit_code) == ("exit 9", 9)
    assert listed[over.id].created_at_ms >= listed[alive.id].created_at_ms > 0
    alive.kill()
    assert alive.wait(SECONDS) == 137


def test_it_attaches_again_and_gets_all_from_the_beginning(published, screen):
    first = create(published, screen, "echo before; read x; echo after $x")
    screen.until(b"before")
    first.close()  # its callbacks are called no more
    again = Screen()
    second = published.pty.attach(first.id, on_data=again.on_data, on_exit=again.on_exit)
    second.send_input("typed\r")
    assert second.wait(SECONDS) == 0
    assert again.said == b"before\r\ntyped\r\nafter typed\r\n"
    assert again.codes == [0]


def test_its_read_is_a_long_poll(published, screen):
    pty = create(published, screen, "echo hello; read x")
    screen.until(b"hello")
    told = published._client.pty_read(published.id, pty.id, since_seq=0)
    assert base64.b64decode(told["data_b64"]) == b"hello\r\n"
    assert published._client.pty_read(published.id, pty.id, since_seq=told["seq"], timeout_ms=1)["data_b64"] == ""
    pty.kill()
    pty.wait(SECONDS)


@pytest.mark.parametrize(("cmd", "cwd", "words"), [(["no-such"], None, "not found"), ("ls", "/no/such", "/no/such")])
def test_what_cannot_be_run_is_its_error_with_our_sentence(published, cmd, cwd, words):
    with pytest.raises(RuntimeError, match=words):
        published.pty.create(cmd=cmd, cwd=cwd)


def test_the_end_of_the_sandbox_ends_its_terminals(service, screen):
    with podflare.Sandbox(host=service.url, api_key=service.key, template="python-minimal") as sandbox:
        pty = create(sandbox, screen, ["sleep", "1000"])
    assert pty.wait(SECONDS) == 137
