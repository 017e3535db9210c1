"""What one terminal says: followed as it comes, or read piece by piece, from the place where the last reader stopped.

The service keeps what a terminal says, up to 1 MiB; an object here is a place in that, which a lost connection does not
move. Not what is typed: that is the terminal's. Stands on a sandbox's calls.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from podflare_nb.client.errors import (
    ConnectionLostError,
    InvalidArgumentError,
    NotOpenError,
    ServiceUnreachableError,
    StreamBrokenError,
)
from podflare_nb.client.terminals import KEPT_BYTES, TerminalEvent, bytes_of, terminal_events

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from podflare_nb.client._async.calls import AsyncCalls

ATTEMPTS = 8
"""How often in a row a lost stream is taken up again without anything new coming."""
_LONGEST_PAUSE_SECONDS = 5.0
_POLL_SECONDS = 30.0


class AsyncTerminalOutput:
    """The part of a terminal that is read.

    ``exit_code``: None while it lives, as far as this object has heard; 128 and the signal's number where a signal
    ended it, -1 where it is unknown. ``error``: why the service ended it, if it did. ``dropped_bytes``: how much came
    too fast to be read here, or too long ago.
    """

    def __init__(self, calls: AsyncCalls, pty_id: str | None) -> None:
        self._calls = calls
        self._id = pty_id
        self._stream: AsyncGenerator[TerminalEvent] | None = None
        self._seq = 0
        self._read_out = False
        self.exit_code: int | None = None
        self.error: str | None = None
        self.dropped_bytes = 0

    @property
    def id(self) -> str:
        """The terminal's id, for ``attach``; raises NotOpenError while it has none."""
        if self._id is None:
            raise NotOpenError(
                "This terminal was not started yet: write `terminal = await sandbox.terminal(...)` or "
                "`async with sandbox.terminal(...) as terminal`."
            )
        return self._id

    async def read(self, max_bytes: int = 65536, *, timeout_seconds: float = 10.0) -> bytes:
        """Give what it said since it was last read, up to ``max_bytes``; wait so long for the first of it.

        Empty: nothing came in time, or (``exit_code`` is there) nothing comes any more.
        """
        await self.close()
        piece = await self._piece(self._seq, max_bytes, timeout_seconds)
        self._seq = int(piece["seq"])
        self.dropped_bytes += int(piece.get("dropped_bytes") or 0)
        if piece.get("exit_code") is not None:
            self.exit_code, self._read_out = int(piece["exit_code"]), True
        return bytes_of(piece.get("data_b64"))

    async def wait(self, timeout_seconds: float | None = None) -> int:
        """Wait for its end and give its exit code. What it says meanwhile is read afterwards, as far as it is kept.

        Raises TimeoutError when it lives longer.
        """
        seq = self._seq
        deadline = None if timeout_seconds is None else monotonic() + timeout_seconds
        while self.exit_code is None:
            left = _POLL_SECONDS if deadline is None else min(_POLL_SECONDS, deadline - monotonic())
            if left < 0:
                raise TimeoutError(f"The terminal {self.id} still runs after {timeout_seconds} s; kill() ends it.")
            piece = await self._piece(seq, KEPT_BYTES, left)
            seq = int(piece["seq"])
            if piece.get("exit_code") is not None:
                self.exit_code = int(piece["exit_code"])
        return self.exit_code

    async def close(self) -> None:
        """Let go of its stream; the terminal lives on, and reading takes it up again. Idempotent."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    async def output(self) -> AsyncGenerator[bytes]:
        """Give what it says from here on, as it comes, to its end; iterating over the terminal does this.

        A lost connection is taken up again, ``ATTEMPTS`` times in a row; then StreamBrokenError is raised.
        """
        failures = 0
        while not self._read_out:
            before, why = self._seq, "its stream ended without an exit."
            try:
                async with aclosing(self._take_stream()) as events:
                    async for event in events:
                        if said := self._heard(event):
                            yield said
            except (ConnectionLostError, ServiceUnreachableError) as error:
                why = error.message
            failures = 1 if self._seq > before else failures + 1
            if failures > ATTEMPTS:
                raise StreamBrokenError(
                    f"The terminal {self.id} could not be followed any more: {why} It may still run; iterating over "
                    "it takes it up again.",
                    last_seq=self._seq,
                )
            await self._pause(failures)

    def __aiter__(self) -> AsyncGenerator[bytes]:
        return self.output()

    def _path(self, verb: str) -> str:
        return f"/pty/{quote(self.id, safe='')}/{verb}"

    async def _pause(self, failures: int) -> None:
        if not self._read_out:
            await asyncio.sleep(min(0.05 * 2**failures, _LONGEST_PAUSE_SECONDS))

    async def _make(self, wanted: Mapping[str, Any]) -> None:
        """Run the command; its stream stays open for the first that reads."""
        stream = self._events("POST", "/pty", wanted)
        try:
            async for event in stream:
                self._heard(event)
                if event.type == "pty_ready":
                    self._id, self._stream = event.session_id, stream
                    return
        finally:
            if self._stream is None:
                await stream.aclose()
        if self.error is not None:
            raise InvalidArgumentError(self.error, details={"exit_code": self.exit_code})
        raise StreamBrokenError("The stream ended before the terminal was there; whether it runs, terminals() tells.")

    def _take_stream(self) -> AsyncGenerator[TerminalEvent]:
        """Give the open stream, or one that goes on where the last ended."""
        stream, self._stream = self._stream, None
        return stream or self._events("GET", self._path("attach"), params={"since_seq": self._seq})

    async def _events(
        self,
        method: str,
        rest: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
    ) -> AsyncGenerator[TerminalEvent]:
        async with aclosing(self._calls.line_groups(method, rest, body, params=params)) as groups:
            async for group in groups:
                for event in terminal_events(group):
                    yield event

    def _heard(self, event: TerminalEvent) -> bytes:
        """Take note of an event; gives what the terminal said in it."""
        if event.type == "pty_error":
            self.error = event.message
        elif event.type == "pty_exit":
            self.exit_code, self._read_out = event.exit_code, True
        elif event.type == "notice":
            self.dropped_bytes += event.dropped_bytes
            self._seq = event.seq
        elif event.type == "pty_data":
            self._seq = event.seq
        return event.output

    async def _piece(self, seq: int, max_bytes: int, seconds: float) -> dict[str, Any]:
        body = {"since_seq": seq, "max_bytes": max_bytes, "timeout_ms": int(seconds * 1000)}
        piece: dict[str, Any] = await self._calls.call(
            "POST", self._path("read"), body, wait_seconds=seconds, repeat="always"
        )
        return piece
