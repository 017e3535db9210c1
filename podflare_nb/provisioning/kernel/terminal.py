"""The last steps of a process that is to be a terminal's command: in the jail already, not yet the command.

Forked from a template as a kernel is, for the same reasons: it holds no secret that a neighbour inside could look for
before the exec, and Linux reaps it where kernels are reaped. Standard library only. Above: ``template``.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import termios
from typing import Any, NoReturn

from .. import datagrams
from ..jail import syscalls

NOT_FOUND, NOT_EXECUTABLE, NO_DIRECTORY = 127, 126, 1
"""Exit codes, as a shell would have them."""


class NotRunError(Exception):
    """The command cannot be run; a sentence, and the exit code that tells it."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def take_order(told: socket.socket) -> dict[str, Any]:
    """Say that this process is there, and hear what it is to run: ``{"argv", "env", "cwd"}``, from a file in memory,
    for a command may be longer than a message.
    """
    datagrams.send(told, {"event": "forked"})
    order = datagrams.receive(told)
    with os.fdopen(order.fds.pop(), "rb") as file:
        file.seek(0)
        command: dict[str, Any] = json.load(file)
    return command


def run(command: dict[str, Any], slave: int) -> NoReturn:
    """Make the terminal this session's own, and become the command. Raises NotRunError or OSError."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(slave, number)
    # Everything else closes on exec; the control socket, too: its end tells the supervisor that the exec succeeded.
    syscalls.close_range(3, flags=syscalls.CLOSE_RANGE_CLOEXEC)
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(signum, signal.SIG_DFL)  # a template ignores the interrupt: its programs should not
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.chdir(command["cwd"])
    except OSError as error:
        sentence = f"The directory {command['cwd']!r} cannot be entered: {error.strerror}."
        raise NotRunError(sentence, NO_DIRECTORY) from error
    name = command["argv"][0]
    try:
        os.execvpe(name, command["argv"], command["env"])  # noqa: S606 - a tenant's command, in its jail
    except OSError as error:
        missing = error.errno in {errno.ENOENT, errno.ENOTDIR}
        sentence = f"{name!r} cannot be run: {'command not found' if missing else error.strerror}."
        raise NotRunError(sentence, NOT_FOUND if missing else NOT_EXECUTABLE) from error
