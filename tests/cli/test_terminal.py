"""``podflare-nb terminal`` in a terminal of the test's own, against the real service."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

from podflare_nb import cli
from podflare_nb.client import Sandbox

from ..conftest import Service, command

BOUND = 60


class Own:
    """A terminal with the command in it."""

    def __init__(self, service: Service, *arguments: str) -> None:
        self.service = service
        self._near, self.far = os.openpty()
        self.resize(100, 30)
        self.settings = termios.tcgetattr(self.far)
        self.process = subprocess.Popen(
            command("terminal", *arguments, "--data-dir", str(service.data_dir)),
            stdin=self.far, stdout=self.far, stderr=subprocess.PIPE, start_new_session=True, text=True,
        )  # fmt: skip

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._near, text.encode())

    def see(self, wanted: str) -> str:
        """Read until it is there."""
        seen, deadline = "", time.monotonic() + BOUND
        while wanted not in seen:
            readable = select.select([self._near], [], [], max(0, deadline - time.monotonic()))[0]
            assert readable, f"no {wanted!r} in {seen!r}"
            seen += os.read(self._near, 65536).decode(errors="replace")
        return seen

    def end(self) -> tuple[int, str]:
        """The exit code and what stood on standard error; the terminal is as it was."""
        _, errors = self.process.communicate(timeout=BOUND)
        assert termios.tcgetattr(self.far) == self.settings
        return self.process.returncode, errors

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        os.close(self._near)
        os.close(self.far)


@pytest.fixture
def open_own(service) -> Iterator:
    opened: list[Own] = []

    def opening(*arguments: str) -> Own:
        opened.append(Own(service, *arguments))
        return opened[-1]

    yield opening
    for own in opened:
        own.close()


def call(service: Service, *arguments: str, text: str = "") -> tuple[int, str]:
    ended = subprocess.run(
        command(*arguments, "--data-dir", str(service.data_dir)),
        capture_output=True, text=True, timeout=BOUND, input=text, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


def sandboxes(service: Service) -> set[str]:
    return {one.id for one in Sandbox.list(host=service.url, api_key=service.key)}


def test_a_shell_knows_its_size_and_passes_its_exit_code_on_and_a_new_sandbox_ends_with_it(service, open_own):
    before = sandboxes(service)
    own = open_own("--template", "python-minimal")
    own.see("# ")
    own.type("tty; stty size\r")
    assert "/dev/pts/" in own.see("30 100")
    own.resize(132, 50)
    own.process.send_signal(signal.SIGWINCH)
    own.type("python3 -c \"while __import__('os').get_terminal_size().columns != 132: pass\"; stty size\r")
    own.see("50 132")
    own.type("exit 7\r")
    assert own.end() == (7, "")
    assert sandboxes(service) == before


AGAIN = "trap 'echo caught' INT; echo up; until cat; do :; done; exit 5"
"""An interrupt is caught, and ``cat`` runs after it, whether it came before ``cat`` or in it."""


def test_keys_reach_the_program_one_key_leaves_it_running_and_it_is_taken_up_again(service, open_own):
    own = open_own("--template", "python-minimal", "--keep", "-c", AGAIN)
    own.see("up")
    own.type("\x03")
    own.see("caught")
    own.type("typed\r\x1d")
    code, errors = own.end()
    assert code == 0
    again = errors.strip().splitlines()[-1].removeprefix("It runs on: podflare-nb terminal ").split()
    assert again[1] == "--attach"

    other = open_own(*again)
    other.see("caught")
    other.type("\x04")
    assert other.end() == (5, "")
    code, shown = call(service, "terminal", again[0], "-c", "echo in $PWD; kill -TERM $$")
    assert (code, shown) == (143, "in /workspace\n")
    Sandbox.connect(again[0], host=service.url, api_key=service.key).close()


def test_a_signal_ends_the_command_and_its_sandbox_and_restores_the_terminal(service, open_own):
    before = sandboxes(service)
    own = open_own("--template", "python-minimal", "-c", "echo up; sleep 600")
    own.see("up")
    own.process.send_signal(signal.SIGTERM)
    assert own.end() == (143, "")
    assert sandboxes(service) == before


def test_a_pipe_is_typed_to_its_end_and_what_comes_back_steers_nothing(service):
    hostile = r"printf 'a\033]0;owned\007b\033]52;c;b3duZWQ=\033\\c\n'"
    options = ("terminal", "--template", "python-minimal", "-c", f"stty -echo; {hostile}; wc; exit 4")
    assert call(service, *options, text="one\ntwo")[0] == 4
    code, shown = call(service, *options, text="one\ntwo\n")
    assert code == 4
    assert re.fullmatch(r"(one\n)?(two\n)?abc\n +2 +2 +8\n", shown.removeprefix("one\ntwo\n")), shown


def test_a_command_line_that_cannot_be_is_one_sentence(service, capsys):
    code, shown = call(service, "terminal", "sbx_nope", "-c", "ls")
    assert code != 0
    assert "sbx_nope" in shown
    assert len(shown.splitlines()) == 1
    code, shown = call(service, "terminal")
    assert code != 0
    assert "Standard input is no terminal; name what is to run with --command." in shown
    assert cli.run(["terminal", "--attach", "pty_1"]) != 0
    assert "--attach takes the id of a sandbox" in capsys.readouterr().err
