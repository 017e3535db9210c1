"""Calls that make something and may be sent again: ``Idempotency-Key`` on create and fork.

The key comes from the client, with each request that is not to be done twice; ``kept_answers`` keeps what was answered.
Above: ``sandboxes`` and ``branches``, whose handlers make things.
"""

from __future__ import annotations

import hashlib
import re

from ..errors import InvalidArgumentError
from .base import PodflareHandler
from .kept_answers import Make

KEY = re.compile(r"[\x21-\x7e]{1,255}")


class OnceHandler(PodflareHandler):
    """Base of handlers whose POST makes something."""

    async def answer_once(self, make: Make) -> None:
        """Answer with what ``make`` gives, or with what it gave to this key before."""
        key = self.request.headers.get("Idempotency-Key")
        if key is None:
            await self.answer(await make())
            return
        if not KEY.fullmatch(key):
            raise InvalidArgumentError("Idempotency-Key must be 1 to 255 visible ASCII characters, without spaces.")
        request = hashlib.sha256(self.request.path.encode() + b"\0" + bytes(self._body)).digest()
        kept_answers = (await self.services()).kept_answers
        answer, is_replayed = await kept_answers.once(self.who.tenant.id, key, request, make)
        if is_replayed:
            self.set_header("Idempotency-Replayed", "true")
        await self.finish(answer)
