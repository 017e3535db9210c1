"""What every handler of ours does alike: who asks, and whether the request is let in.

Differs from Jupyter's own ``APIHandler`` in three ways: keys of tenants are recognised first (``tenants.identity``),
errors are our JSON with a code (``errors``), and a body that is too large is refused from its headers, before it is
read (``bodies``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from jupyter_server._tz import utcnow
from jupyter_server.base.call_context import CallContext
from tornado import web

from ..errors import ForbiddenError, NoCapacityError, NotFoundError, PodflareError, UnauthenticatedError
from ..tenants.identity import Caller, recognise, sent_secret
from .bodies import BodyHandler
from .services import SETTING, Services, ServicesSlot

DRAIN_BYTES = 64 << 20
"""Of the body of a request that is refused anyway: read and thrown away, so that the client hears the refusal."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@web.stream_request_body
class PodflareHandler(BodyHandler):
    """Base of our handlers."""

    def initialize(self, **_: Any) -> None:
        """Begin with no caller."""
        super().initialize()
        self.caller: Caller | None = None

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
            self.take_caller(self.caller)
        self.set_cors_headers()
        self._refuse_strangers()
        if self.request.method not in SAFE_METHODS:
            self.check_xsrf_cookie()
        if not self.check_origin():
            raise ForbiddenError("Requests from pages of another origin need an API key in the Authorization header.")
        self._refuse_large_bodies()

    def take_caller(self, caller: Caller) -> None:
        """Take note of who asks, for Jupyter's own methods, too."""
        self.caller = caller
        self.current_user = self._jupyter_current_user = caller.user
        self._token_authenticated = caller.explicit

    def _refuse_strangers(self) -> None:
        method = getattr(self, str(self.request.method).lower())
        if self.caller is not None or getattr(method, "__allow_unauthenticated", False):
            return
        if sent_secret(self) is not None:
            raise UnauthenticatedError("This API key is not known here, or it was revoked.")
        raise UnauthenticatedError("This call needs an API key: send the header 'Authorization: Bearer <key>'.")

    def set_cors_headers(self) -> None:
        """Say nothing of origins to a client that has none."""
        if "Origin" in self.request.headers:
            super().set_cors_headers()

    def update_api_activity(self) -> None:
        """Note that somebody is there (the server may be set to end when nobody is), without reading arguments."""
        # Tornado refuses some requests (an unknown method, a path that is no UTF-8) before anybody is recognised.
        if getattr(self, "_jupyter_current_user", None) is not None:
            self.settings["api_last_activity"] = utcnow()


class UnknownRouteHandler(PodflareHandler):
    """Whatever else is under our base URL: a JSON 404 that names the URL."""

    async def admit(self) -> None:
        """Refuse strangers first, so that they learn nothing of the routes."""
        await super().admit()
        raise NotFoundError(f"There is no {self.request.method} {self.request.path} here; see the API's documentation.")
