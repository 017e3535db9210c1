"""One terminal of a sandbox in one's own: keys and sizes there, output and the exit code back.

The main thread reads keys and signals, another follows the output over as many connections as it takes. Below:
``own_terminal`` (this side), ``api`` (the service).
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import typer

from ..errors import NoCapacityError, PodflareError
from .api import Api
from .own_terminal import OwnTerminal
from .terminal_filter import TerminalFilter

LEAVE = b"\x1d"
"""Ctrl-]; as telnet has it."""
END_OF_INPUT = b"\x04"
ATTEMPTS = 8
LONGEST_PAUSE_SECONDS = 5.0


class TerminalSession:
    """``create`` or ``attach``, once; each gives the exit code, None where the person left and it runs on."""

    def __init__(self, api: Api, sandbox: str, own: OwnTerminal) -> None:
        self._api, self._own = api, own
        self._path = f"sandboxes/{sandbox}/pty"
        self._filter = TerminalFilter()
        self._over = threading.Event()
        self._seq = 0
        self._exit_code: int | None = None
        self._ended_by: int | None = None
        self._failure: PodflareError | None = None
        self._size = own.size
        self.pty_id = ""

    def create(self, command: str | None) -> int | None:
        """Run a command of bash's, or a login shell."""
        cols, rows = self._size
        asked: dict[str, Any] = {"cols": cols, "rows": rows} | ({"shellCmd": command} if command else {})
        return self._run("POST", "", asked)

    def attach(self, pty_id: str) -> int | None:
        """Take up one that exists: what it said, then what it says."""
        self.pty_id = pty_id
        self._api.call("POST", f"{self._path}/{pty_id}/resize", self._size_fields())
        return self._run("GET", f"/{pty_id}/attach", None)

    def _run(self, method: str, rest: str, body: dict[str, Any] | None) -> int | None:
        with self._own.raw(self._end):
            threading.Thread(target=self._follow, args=(method, rest, body), daemon=True).start()
            self._type()
            self._over.set()
        if self._failure is not None:
            raise self._failure
        return 128 + self._ended_by if self._ended_by is not None else self._exit_code

    def _end(self, signal_number: int) -> None:
        self._ended_by = signal_number

    def _type(self) -> None:
        keys = b""  # that were typed before there was a terminal for them
        in_line = False
        with closing(self._own.typed()) as typed:
            for data in typed:
                if self._over.is_set() or self._ended_by is not None:
                    return
                leaves = self._own.is_terminal and data is not None and (not data or LEAVE in data)
                if data is not None:
                    # Within a line, Ctrl-D only hands over what is there; the next one ends the input.
                    keys += data.partition(LEAVE)[0] if leaves else data or END_OF_INPUT * (1 + in_line)
                    in_line = not data.endswith((b"\n", b"\r"))
                if self.pty_id:
                    self._resize()
                    self._send("input", {"data_b64": base64.b64encode(keys).decode()}, wanted=bool(keys))
                    keys = b""
                if leaves:
                    return

    def _resize(self) -> None:
        changed, self._size = self._own.size != self._size, self._own.size
        self._send("resize", self._size_fields(), wanted=changed)

    def _size_fields(self) -> dict[str, Any]:
        return {"cols": self._size[0], "rows": self._size[1]}

    def _send(self, verb: str, body: dict[str, Any], *, wanted: bool) -> None:
        if not wanted or self._over.is_set():
            return
        try:
            self._api.call("POST", f"{self._path}/{self.pty_id}/{verb}", body)
        except PodflareError as error:
            # One that ended meanwhile says so by itself.
            if not self._over.wait(1.0):
                self._say(error.message)

    def _follow(self, method: str, rest: str, body: dict[str, Any] | None) -> None:
        """In a thread of its own: show what comes until the exit."""
        try:
            for event in self._events(method, rest, body):
                if self._over.is_set():
                    return
                self._show(event)
        except PodflareError as error:
            self._failure = error
        except OSError:
            pass  # nobody reads our output any more
        finally:
            if not self._over.is_set():
                self._over.set()
                self._own.wake()

    def _events(self, method: str, rest: str, body: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        """Give the events of it, behind a lost connection's last one, too; the last is the exit."""
        failures = 0
        while True:
            before = self._seq
            try:
                with self._api.events(method, self._path + rest, body) as events:
                    for event in events:
                        yield event
                        if event["type"] == "pty_exit":
                            return
            except NoCapacityError as error:
                if not self.pty_id or failures >= ATTEMPTS:
                    raise error from None
            failures = 1 if self._seq > before else failures + 1
            method, rest, body = "GET", f"/{self.pty_id}/attach?since_seq={self._seq}", None
            if self._over.wait(min(0.05 * 2**failures, LONGEST_PAUSE_SECONDS)):
                return

    def _show(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "pty_ready":
                self.pty_id = event["session_id"]
                self._own.wake()
            case "pty_data":
                self._seq = event["seq"]
                self._own.show(self._filter.feed(base64.b64decode(event["data_b64"])))
            case "pty_error":
                self._say(event["message"])
            case "notice":
                self._seq = event["seq"]
                self._say(event["data"]["message"])
            case "pty_exit":
                self._exit_code = event["data"]

    def _say(self, sentence: str) -> None:
        """A sentence of ours, where lines may not begin at the left."""
        typer.echo(f"\r\npodflare-nb: {sentence}\r", err=True)
