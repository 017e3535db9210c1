"""What every handler of ours does alike: who asks, what is in the body, how an error is told.

Differs from Jupyter's own ``APIHandler`` in three ways: keys of tenants are recognised first (``tenants.identity``),
errors are our JSON with a code, and a body that is too large is refused from its headers, before it is read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeVar

from jupyter_server._tz import utcnow
from jupyter_server.base.call_context import CallContext
from jupyter_server.base.handlers import APIHandler
from pydantic import BaseModel
from tornado import web

from ..errors import ForbiddenError, NoCapacityError, NotFoundError, PodflareError, TooLargeError, UnauthenticatedError
from ..protocol.requests import Request, read
from ..tenants.identity import Caller, recognise, sent_secret
from .services import SETTING, Services, ServicesSlot
from .statuses import body_of, retry_after, status_of

MAX_JSON_BYTES = 8 << 20
"""Of a JSON body: 1 MiB of code may take six times that when every character is escaped."""

DRAIN_BYTES = 64 << 20
"""Of the body of a request that is refused anyway: read and thrown away, so that the client hears the refusal."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

R = TypeVar("R", bound=Request)


@web.stream_request_body
class PodflareHandler(APIHandler):
    """Base of our handlers. The body comes by ``data_received``; methods call ``read`` for it."""

    max_body_bytes: ClassVar[int] = MAX_JSON_BYTES

    def initialize(self, **_: Any) -> None:
        """Begin with no caller and an empty body."""
        self.caller: Caller | None = None
        self._body = bytearray()

    @property
    def slot(self) -> ServicesSlot:
        """Where the services are while they run."""
        slot: ServicesSlot = self.settings[SETTING]
        return slot

    async def services(self) -> Services:
        """Give the parts of the service. Raises why they cannot be had (503)."""
        return await self.slot.get()

    @property
    def who(self) -> Caller:
        """The caller, in methods that are ``@web.authenticated``."""
        if self.caller is None:
            raise UnauthenticatedError("This call needs an API key.")
        return self.caller

    async def prepare(self, **_: Any) -> None:
        """Let the request in, or see to it that it is refused; Tornado calls it before the body is read."""
        try:
            await self.admit()
        except (PodflareError, web.HTTPError) as error:
            if self.declared_length > DRAIN_BYTES:
                raise

            refusal = error

            async def refuse(*_: str) -> None:
                raise refusal

            self.answer_with(refuse)

    def answer_with(self, answer: Callable[..., Awaitable[None]]) -> None:
        """Answer this request so instead of by its method, once its body has been read.

        An answer before the body is over makes Tornado end the connection, which a client takes for a failure.
        """
        setattr(self, str(self.request.method).lower(), answer)

    async def admit(self) -> None:
        """Find out who asks, and raise why the request must not go on."""
        CallContext.set(CallContext.JUPYTER_HANDLER, self)
        self.current_user = self._jupyter_current_user = None
        if not self.check_host():
            raise ForbiddenError(
                f"The host name {self.request.host!r} is not this machine's; use 127.0.0.1 or localhost, "
                "or start the service with --host."
            )
        ring = self.slot.ring
        if ring is None:
            self.slot.check()
            raise NoCapacityError("The service has no database.")
        self.caller = await recognise(self, ring, self.identity_provider)
        if self.caller is not None:
            self.current_user = self._jupyter_current_user = self.caller.user
            self._token_authenticated = self.caller.explicit
        self.set_cors_headers()
        self._refuse_strangers()
        if self.request.method not in SAFE_METHODS:
            self.check_xsrf_cookie()
        if not self.check_origin():
            raise ForbiddenError("Requests from pages of another origin need an API key in the Authorization header.")
        self._refuse_large_bodies()

    def _refuse_strangers(self) -> None:
        method = getattr(self, str(self.request.method).lower())
        if self.caller is not None or getattr(method, "__allow_unauthenticated", False):
            return
        if sent_secret(self) is not None:
            raise UnauthenticatedError("This API key is not known here, or it was revoked.")
        raise UnauthenticatedError("This call needs an API key: send the header 'Authorization: Bearer <key>'.")

    def _refuse_large_bodies(self) -> None:
        if self.declared_length > self.max_body_bytes:
            raise TooLargeError(
                f"The request's body has {self.declared_length} bytes; the limit of this call is "
                f"{self.max_body_bytes}.",
                limit=self.max_body_bytes,
                size=self.declared_length,
            )

    @property
    def declared_length(self) -> int:
        """What the headers say of the body's size; 0 where they say nothing."""
        length = self.request.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else 0

    def data_received(self, chunk: bytes) -> None:
        """Collect the body, up to one byte over the limit: a chunked body does not say its length before."""
        room = self.max_body_bytes + 1 - len(self._body)
        self._body += chunk[:room]

    def read(self, kind: type[R]) -> R:
        """Read the body as one of ``protocol.requests``. Raises InvalidArgumentError, TooLargeError."""
        if len(self._body) > self.max_body_bytes:
            raise TooLargeError(
                f"The request's body is over the limit of this call, {self.max_body_bytes} bytes.",
                limit=self.max_body_bytes,
            )
        return read(kind, bytes(self._body))

    async def answer(self, response: BaseModel, status: int = 200) -> None:
        """Answer with one of ``protocol.responses``."""
        self.set_status(status)
        await self.finish(response.model_dump_json())

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell an error as JSON; Tornado calls it for whatever a handler raised."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        if status_code == 405:
            error = web.HTTPError(405, f"{self.request.method} is not a method of this URL.")
        status = status_of(error) if error is not None else status_code
        self.set_status(status)
        if (seconds := retry_after(error)) is not None:
            self.set_header("Retry-After", str(seconds))
        prepared: asyncio.Future[None] | None = getattr(self, "_prepared_future", None)
        if prepared is not None and not prepared.done():
            # The body was not read, so Tornado ends the connection: the client should know.
            self.set_header("Connection", "close")
        if status == 401:
            self.set_header("WWW-Authenticate", "Bearer")
        self.finish(json.dumps(body_of(error, status)))

    def check_xsrf_cookie(self) -> None:
        """Refuse a write that another site may have made a browser send; Tornado and ``admit`` call it."""
        try:
            super().check_xsrf_cookie()
        except web.HTTPError as error:
            raise ForbiddenError(
                "A login by cookie may write only with the header X-XSRFToken, which repeats the _xsrf cookie; "
                "or send an API key in the Authorization header."
            ) from error

    def set_cors_headers(self) -> None:
        """Say nothing of origins to a client that has none."""
        if "Origin" in self.request.headers:
            super().set_cors_headers()

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        """Log only what is a fault of ours: every other error is told to whoever asked."""
        if status_of(error) == 500:
            super().log_exception(kind, error, trace)

    def update_api_activity(self) -> None:
        """Note that somebody is there (the server may be set to end when nobody is), without reading arguments."""
        if self._jupyter_current_user is not None:
            self.settings["api_last_activity"] = utcnow()

    def get_login_url(self) -> str:
        """Refuse instead of redirecting a program to a login page; only ``@web.authenticated`` asks."""
        raise UnauthenticatedError("This call needs an API key.")


class UnknownRouteHandler(PodflareHandler):
    """Whatever else is under our base URL: a JSON 404 that names the URL."""

    async def admit(self) -> None:
        """Refuse strangers first, so that they learn nothing of the routes."""
        await super().admit()
        raise NotFoundError(f"There is no {self.request.method} {self.request.path} here; see the API's documentation.")
