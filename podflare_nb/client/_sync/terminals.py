# Generated from podflare_nb/client/_async by scripts/generate_sync_client.py: change it there.
# ruff: noqa: C416, RUF100, SIM117, UP028 - loops and ignores are as the asynchronous original needs them
"""Terminals of a sandbox: a program on a real terminal, typed to and read from. It lives on when nobody follows it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from podflare_nb.client._sync.terminal_output import TerminalOutput
from podflare_nb.client.errors import GoneError, NotFoundError
from podflare_nb.client.starting import StartsAtOnce
from podflare_nb.client.terminals import TerminalInfo, command_fields, pieces_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from podflare_nb.client._sync.calls import Calls


class Terminals:
    """The part of a sandbox that has terminals."""

    _calls: Calls

    def terminal(
        self,
        command: str | Sequence[str] | None = None,
        *,
        cols: int = 80,
        rows: int = 24,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Terminal:
        """Run a command on a terminal of its own: text by bash, words as they are, None is a login shell.

        ``cols`` and ``rows``: 1 to 1000; ``env`` is added to the environment; ``cwd`` is the workspace unless named.
        Leaving ``with`` ends it. Raises InvalidArgumentError where the command cannot be run.
        """
        pairs = None if env is None else [[name, value] for name, value in env.items()]
        wanted = {**command_fields(command), "cols": cols, "rows": rows, "env": pairs, "cwd": cwd}
        return Terminal(self._calls, wanted=wanted)

    def terminals(self) -> list[TerminalInfo]:
        """List the terminals that live, and the last that have ended, oldest first."""
        return [TerminalInfo.from_json(row) for row in self._calls.call("GET", "/pty")]

    def attach(self, pty_id: str) -> Terminal:
        """Take up a terminal that exists: what it said, the last 1 MiB of it, then what it says.

        Leaving ``with`` lets go of it; it lives on. Raises NotFoundError where there is none.
        """
        return Terminal(self._calls, pty_id=pty_id)


class Terminal(StartsAtOnce, TerminalOutput):
    """A program on a terminal. Iterating gives what it says, as bytes as they come, to its end.

    Bytes may begin and end in the middle of a character. Reading and iterating go on where the other stopped. Made by
    ``terminal`` and ``attach`` of a sandbox.
    """

    def __init__(self, calls: Calls, *, wanted: Mapping[str, Any] | None = None, pty_id: str | None = None) -> None:
        super().__init__(calls, pty_id)
        self._wanted = wanted
        self._started = False
        self._begin()

    def start(self) -> Self:
        """Make it, or look whether it is there; does nothing when that was done."""
        if self._started:
            return self
        if self._wanted is None:
            rows = self._calls.call("GET", "/pty")
            if not any(row["pty_id"] == self._id for row in rows):
                raise NotFoundError(f"There is no terminal {self._id} in this sandbox.", status=404)
        else:
            self._make(self._wanted)
        self._started = True
        return self

    def write(self, data: bytes | str) -> None:
        r"""Type. Text is UTF-8; Enter is ``\r``, Ctrl-C is ``\x03``. Raises ConflictError once it has ended."""
        for piece in pieces_of(data):
            self._calls.call("POST", self._path("input"), {"data_b64": piece})

    def resize(self, cols: int, rows: int) -> None:
        """Give it another size (1 to 1000 each); its programs get SIGWINCH. Raises ConflictError once it has ended."""
        self._calls.call("POST", self._path("resize"), {"cols": cols, "rows": rows}, repeat="always")

    def kill(self) -> None:
        """End it and all that runs in it. Does nothing when it has ended."""
        self._calls.call("POST", self._path("kill"), {}, repeat="always")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.close()
        if self._wanted is not None and self.exit_code is None:
            # It may have gone with its sandbox: that is an end, too.
            with suppress(NotFoundError, GoneError):
                self.kill()

    def __repr__(self) -> str:
        state = "alive" if self.exit_code is None else f"exit_code={self.exit_code}"
        return f"<{type(self).__name__} {self._id or 'not started'} {state}>"
