"""What every request for a port is answered alike: the isolation, redirects, preflights, errors as a page.

Stands on ``port_headers`` and ``port_access``; ``port_proxy`` stands above.
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from jupyter_server.utils import url_path_join
from tornado import web

from . import port_access, port_headers, port_target
from .port_access import Admitted
from .port_target import Target
from .statuses import body_of, status_of
from .streaming import StreamingHandler

ERROR_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Port {port}</title><meta name="viewport" '
    'content="width=device-width"><style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;'
    "max-width:40rem;margin:15vh auto;padding:0 1rem}}</style><h1>Port {port}</h1><p>{sentence}</p></html>\n"
)


class PortAnswers(StreamingHandler):
    """Base of the proxy."""

    def initialize(self, **_: Any) -> None:
        """Begin with no place; what is logged of the URL lets nobody in."""
        super().initialize()
        self._url = str(self.request.uri)
        self.request.uri = self.request.path = port_target.loggable(self._url)
        self._target: Target | None = None
        self._admitted: Admitted | None = None
        self._says_program = False

    def set_default_headers(self) -> None:
        """Take from every answer what a page of this host may do."""
        for name in ("Content-Type", "Server"):
            self.clear_header(name)
        for name, value in port_headers.ISOLATION.items():
            self.set_header(name, value)

    def check_xsrf_cookie(self) -> None:
        """Leave it to ``port_access``: a cookie alone writes nothing here."""

    def _is_of_its_page(self) -> bool:
        """Whether a page asks which came from here: it knows the address, and has no origin."""
        origin = self.request.headers.get("Origin")
        return origin == port_headers.OPAQUE and self._target is not None and self._target.kind is not None

    def _is_preflight(self) -> bool:
        asked = "Access-Control-Request-Method" in self.request.headers
        return self.request.method == "OPTIONS" and asked and self._is_of_its_page()

    async def _answer_preflight(self, *_: str) -> None:
        headers = self.request.headers
        wanted = headers.get("Access-Control-Request-Headers", "")
        for name, value in port_headers.preflight(headers["Access-Control-Request-Method"], wanted):
            self.set_header(name, value)
        self.set_status(204)
        await web.RequestHandler.finish(self)

    def _send_to_visit(self, target: Target, admitted: Admitted) -> Callable[..., Awaitable[None]]:
        place = target.in_visit(admitted.visit) if admitted.visit else f"{target.prefix}/{target.query}"

        async def redirect(*_: str) -> None:
            self.set_status(307)
            self.set_header("Location", place)
            self.set_header("Cache-Control", "no-store")
            await web.RequestHandler.finish(self)

        return redirect

    async def _ask_for_login(self, *_: str) -> None:
        self.set_status(302)
        place = quote(self.request.path)
        self.set_header("Location", f"{url_path_join(self.base_url, 'login')}?next={place}")
        await web.RequestHandler.finish(self)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell an error as a page to whoever looks at a page."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        if self._admitted is not None and self._is_of_its_page():
            for name, value in port_headers.for_opaque_origin([]):
                self.set_header(name, value)
        if self._target is None or not port_access.is_navigation(self):
            super().write_error(status_code, **kwargs)
            return
        status = status_of(error) if error is not None else status_code
        self.set_status(status)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        sentence = html.escape(str(body_of(error, status)["error"]))
        web.RequestHandler.finish(self, ERROR_PAGE.format(port=self._target.port, sentence=sentence))

    def _log(self) -> None:
        """Log what the service answered; a program's own failures are no business of its log."""
        if not self._says_program:
            super()._log()

    def _hang_up(self) -> None:
        if (stream := self._socket()) is not None:
            stream.close()
