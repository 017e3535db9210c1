"""One client of the supervisor: its requests, answered as they come, and what it is told unasked."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

from ..errors import ConflictError, PodflareError
from . import datagrams
from .factory import KernelFactory
from .holdings import Holdings
from .requests import REQUESTS, Request
from .waiting import receive, writable

log = logging.getLogger(__name__)


class Connection:
    """``serve`` until the client closes. Answers are ``{"id", "ok": {}}`` or ``{"id", "error": {"code", "message",
    "details"}}``, events ``{"event": "exit" | "moved", "kernel_id", ...}``."""

    def __init__(self, sock: socket.socket, factory: KernelFactory) -> None:
        sock.settimeout(0)
        self._sock = sock
        self._factory = factory
        self._holdings = Holdings(self._tell)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Answer requests until the client closes; then end its kernels."""
        try:
            while True:
                request = await receive(self._sock)
                request.close_fds()
                self._begin(self._answer(request.body))
        except (datagrams.PeerClosedError, ValueError):
            pass
        finally:
            await self.close()

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what this client holds. Idempotent."""
        pending = list(self._tasks)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self._holdings.close()
        self._sock.close()

    async def _answer(self, body: dict[str, Any]) -> None:
        request = Request(self._factory, self._holdings, body)
        answer: dict[str, Any] = {"id": body.get("id")}
        try:
            answer["ok"] = await REQUESTS.get(str(body.get("op")), _unknown)(request)
        except PodflareError as error:
            answer["error"] = {"code": error.code, "message": error.message, "details": error.details}
        except Exception as error:
            log.exception("A request failed: %s", body.get("op"))
            answer["error"] = {"code": "no_capacity", "message": f"The supervisor failed: {error}", "details": {}}
        await self._send(answer, request.fds)

    def _tell(self, body: dict[str, Any], fds: Sequence[int]) -> None:
        """At once if the socket takes it: an event comes before the answers that follow from it."""
        if self._sock.fileno() < 0:
            _close(fds)
            return
        try:
            datagrams.send(self._sock, body, fds)
        except BlockingIOError:
            self._begin(self._send(body, fds))
            return
        except (datagrams.PeerClosedError, OSError):
            pass  # the client is gone: ``serve`` sees it
        _close(fds)

    async def _send(self, body: dict[str, Any], fds: Sequence[int]) -> None:
        """Send, and give up our descriptors."""
        try:
            while True:
                try:
                    return datagrams.send(self._sock, body, fds)
                except BlockingIOError:
                    await writable(self._sock.fileno())
                except (datagrams.PeerClosedError, OSError):
                    return None  # the client is gone: ``serve`` sees it and ends what was made for it
        finally:
            _close(fds)


async def _unknown(request: Request) -> dict[str, Any]:
    raise ConflictError(f"Unknown op {request.body.get('op')!r}.")


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
