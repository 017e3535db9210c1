"""Calls that make something and may be sent again: ``Idempotency-Key`` on create and fork.

The key comes from the client, with each request that is not to be done twice; ``kept_answers`` keeps what was answered.
Without a key nobody can ask again: what was made for a client that has gone away meanwhile is ended.
Above: ``sandboxes`` and ``branches``, whose handlers make things.
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import BaseModel
from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from ..errors import InvalidArgumentError, PodflareError
from .base import PodflareHandler

M = TypeVar("M", bound=BaseModel)
KEY = re.compile(r"[\x21-\x7e]{1,255}")


class OnceHandler(PodflareHandler):
    """Base of handlers whose POST makes something."""

    _left = False
    """Whether the client has gone away."""

    def on_connection_close(self) -> None:
        """Take note of it; Tornado calls it."""
        super().on_connection_close()
        self._left = True

    def _has_left(self) -> bool:
        connection = self.request.connection
        if self._left or not isinstance(connection, HTTP1Connection):
            return self._left
        stream = connection.stream
        if not isinstance(stream, IOStream) or stream.closed():
            return True
        if isinstance(stream, SSLIOStream):  # what lies in its socket is the cipher's, not the client's
            return False
        try:  # a warm kernel is there before the loop has looked at the socket again
            return not stream.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def answer_once(
        self, make: Callable[[], Coroutine[Any, Any, M]], end: Callable[[M], Awaitable[None]]
    ) -> None:
        """Answer with what ``make`` gives, or with what it gave to this key before.

        ``end`` takes back what was made for a client that had no key and is not there any more.
        """
        key = self.request.headers.get("Idempotency-Key")
        if key is None:
            made = await make()
            if self._has_left():
                with suppress(PodflareError):  # it may have ended by itself
                    await end(made)
                raise StreamClosedError
            await self.answer(made)
            return
        if not KEY.fullmatch(key):
            raise InvalidArgumentError("Idempotency-Key must be 1 to 255 visible ASCII characters, without spaces.")
        request = hashlib.sha256(self.request.path.encode() + b"\0" + bytes(self._body)).digest()
        kept_answers = (await self.services()).kept_answers
        answer, is_replayed = await kept_answers.once(self.who.tenant.id, key, request, make)
        if is_replayed:
            self.set_header("Idempotency-Replayed", "true")
        await self.finish(answer)
