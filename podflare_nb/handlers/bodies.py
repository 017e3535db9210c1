"""What a request brings and what it is answered: JSON in, bounded before it is read, JSON out.

A body that is too large is refused from its headers. Stands on ``errors``; ``base`` stands above.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel

from ..errors import TooLargeError
from ..protocol.requests import Request, read
from .errors import TellingHandler

MAX_JSON_BYTES = 8 << 20
"""Of a JSON body: 4 MiB of code that uploads, most of whose characters may be escaped; a message, all of whose may."""

R = TypeVar("R", bound=Request)


class BodyHandler(TellingHandler):
    """A handler whose body comes by ``data_received``; methods call ``read`` for it."""

    max_body_bytes: ClassVar[int] = MAX_JSON_BYTES

    def initialize(self, **_: Any) -> None:
        """Begin with an empty body."""
        self._body = bytearray()

    @property
    def declared_length(self) -> int:
        """What the headers say of the body's size; 0 where they say nothing."""
        length = self.request.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else 0

    def data_received(self, chunk: bytes) -> None:
        """Collect the body, up to one byte over the limit: a chunked body does not say its length before."""
        room = self.max_body_bytes + 1 - len(self._body)
        self._body += chunk[:room]

    def _refuse_large_bodies(self) -> None:
        if self.declared_length > self.max_body_bytes:
            raise TooLargeError(
                f"The request's body has {self.declared_length} bytes; the limit of this call is "
                f"{self.max_body_bytes}.",
                limit=self.max_body_bytes,
                size=self.declared_length,
            )

    def read(self, kind: type[R]) -> R:
        """Read the body as one of ``protocol.requests``. Raises InvalidArgumentError, TooLargeError."""
        return read(kind, self.whole_body())

    def whole_body(self) -> bytes:
        """Give the body as it came. Raises TooLargeError."""
        if len(self._body) > self.max_body_bytes:
            raise TooLargeError(
                f"The request's body is over the limit of this call, {self.max_body_bytes} bytes.",
                limit=self.max_body_bytes,
            )
        return bytes(self._body)

    async def answer(self, response: BaseModel, status: int = 200) -> None:
        """Answer with one of ``protocol.responses``."""
        self.set_status(status)
        await self.finish(response.model_dump_json())
