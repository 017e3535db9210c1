"""How a handler of ours tells an error: as JSON with a sentence and a code, whoever raised it.

Stands on Jupyter's ``APIHandler``; ``bodies`` and ``base`` stand above. ``statuses`` has the table.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from jupyter_server.base.handlers import APIHandler
from tornado import web
from tornado.iostream import StreamClosedError

from ..errors import ForbiddenError, UnauthenticatedError
from .statuses import body_of, retry_after, status_of


class TellingHandler(APIHandler):
    """A handler whose errors are ours."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell an error as JSON; Tornado calls it for whatever a handler raised."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        if status_code == 405:
            error = web.HTTPError(405, f"{self.request.method} is not a method of this URL.")
            self.set_header("Allow", ", ".join(self.methods()))
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

    def methods(self) -> list[str]:
        """Give the methods that this URL has, for ``Allow``."""
        missing = web.RequestHandler._unimplemented_method  # noqa: SLF001 - what Tornado puts where there is none
        return [name for name in self.SUPPORTED_METHODS if getattr(type(self), name.lower()) is not missing]

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        """Log only what is a fault of ours: other errors are told to whoever asked, who may have gone away."""
        if status_of(error) == 500 and not isinstance(error, StreamClosedError):
            super().log_exception(kind, error, trace)

    def check_xsrf_cookie(self) -> None:
        """Refuse a write that another site may have made a browser send; Tornado and ``admit`` call it."""
        try:
            super().check_xsrf_cookie()
        except web.HTTPError as error:
            raise ForbiddenError(
                "A login by cookie may write only with the header X-XSRFToken, which repeats the _xsrf cookie; "
                "or send an API key in the Authorization header."
            ) from error

    def get_login_url(self) -> str:
        """Refuse instead of redirecting a program to a login page; only ``@web.authenticated`` asks."""
        raise UnauthenticatedError("This call needs an API key.")
