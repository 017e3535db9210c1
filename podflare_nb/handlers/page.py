"""The chat page and its assets: files that come with the package, under a strict Content-Security-Policy.

The page itself asks for a login (a key in ``?token=`` becomes a cookie and leaves the address bar); its assets are
public, because they are the same for everyone.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.utils import url_path_join
from tornado import web

from ..errors import NotFoundError, UnauthenticatedError
from ..tenants.identity import log_in
from .authorization import authorized
from .base import PodflareHandler

ASSETS = Path(__file__).parent.parent / "static" / "chat"

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""No referrer: the address may have held a key before the redirect."""


class PageHandler(PodflareHandler):
    """``GET /podflare``: the chat page."""

    async def admit(self) -> None:
        """As every handler; but a person without a login is sent to the login page, not told in JSON."""
        try:
            await super().admit()
        except UnauthenticatedError:
            if self.request.method != "GET":
                raise
            self.answer_with(self._ask_for_login)

    async def _ask_for_login(self) -> None:
        self.redirect(f"{url_path_join(self.base_url, 'login')}?next={quote(self.request.path)}")

    @web.authenticated
    @authorized("read", resource="podflare_nb:page")
    async def get(self) -> None:
        """Log in by ``?token=``, or serve the page."""
        if self.get_query_argument("token", None) is not None:
            log_in(self, self.who, self.base_url)
            self.redirect(self.request.path)
            return
        # Asking for it sets the cookie, whose value the page sends back with each write.
        self.xsrf_token  # noqa: B018 - a property with that effect
        for name, value in PAGE_HEADERS.items():
            self.set_header(name, value)
        self.set_header("Cache-Control", "no-cache")
        await self.finish(read_page(self.base_url), set_content_type="text/html; charset=utf-8")


def read_page(base_url: str, assets: Path = ASSETS) -> str:
    """Read the page, its relative addresses of assets made absolute: it is served at a URL without a slash."""
    try:
        page = (assets / "index.html").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFoundError("The chat page was not built into this installation; 'make run' builds it.") from None
    static = url_path_join(base_url, "podflare", "static/")
    for attribute in ("src", "href"):
        page = page.replace(f'{attribute}="static/', f'{attribute}="{static}').replace(
            f'{attribute}="./', f'{attribute}="{static}'
        )
    return page


class AssetHandler(web.StaticFileHandler):
    """``GET /podflare/static/...``: scripts, styles and fonts of the page; public."""

    @allow_unauthenticated
    async def get(self, path: str, include_body: bool = True) -> None:  # noqa: FBT001, FBT002 - Tornado's signature
        """Serve one asset."""
        await super().get(path, include_body)

    @allow_unauthenticated
    async def head(self, path: str) -> None:
        """Serve one asset's headers."""
        await super().get(path, include_body=False)

    def set_extra_headers(self, path: str) -> None:  # noqa: ARG002 - Tornado's signature
        """Let a browser keep an asset, but ask whether it is still current: names may carry no hash."""
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'")

    def write_error(self, status_code: int, **_: object) -> None:
        """Say an error in plain text."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code} {HTTPStatus(status_code).phrase}\n")
