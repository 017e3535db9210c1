"""Who may reach a port of a sandbox: by a key, by a link, by a visit; and what a login by cookie is given instead.

A cookie alone reaches nothing: a page of any site could make a browser send one. What it does for a ``GET`` is begin a
visit, whose address only the browser's own tab learns. A key in the address is refused: the program would read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs

from jupyter_core.utils import ensure_async

from ..errors import ForbiddenError, InvalidArgumentError, NotFoundError, UnauthenticatedError
from ..sandboxes.port_links import Pass
from ..sandboxes.sandbox import Sandbox
from ..tenants.identity import Caller, recognise
from .base import SAFE_METHODS, PodflareHandler
from .port_headers import OPAQUE
from .port_target import Target

RESOURCE = "podflare_nb:ports"
NO_SANDBOX = "This link leads nowhere: its sandbox has ended, or there never was one."
KEY_IN_THE_ADDRESS = (
    "An API key in the address would be read by what the sandbox serves. Send it in the header "
    "'Authorization: Bearer <key>', or log in on the chat page first."
)
BY_COOKIE = (
    "A login by cookie opens the pages of a port and no more. Send an API key in the Authorization header, or use the "
    "address to which opening the port in a browser leads."
)
FOREIGN_ORIGIN = "Pages of another origin may not use this port of a sandbox."


@dataclass(frozen=True, slots=True)
class Admitted:
    """Whoever may go on. ``visit``: not here, but in the visit of this token, to which a browser is sent."""

    sandbox: Sandbox
    allows: Pass
    by_key: bool = False
    visit: str | None = None


async def admit(handler: PodflareHandler, target: Target) -> Admitted:
    """Decide whether a request goes on. Raises why not: UnauthenticatedError, ForbiddenError, NotFoundError,
    GoneError, InvalidArgumentError."""
    _refuse_keys_in_the_address(handler, target)
    if target.kind is None:
        admitted = await _by_caller(handler, target)
    else:
        admitted = await _by_token(handler, target)
    if not admitted.by_key:
        _refuse_foreign_pages(handler)
    return admitted


async def _by_token(handler: PodflareHandler, target: Target) -> Admitted:
    services = await handler.services()
    sandbox = services.sandboxes.live.get(target.sandbox_id)
    if sandbox is None:
        raise NotFoundError(NO_SANDBOX)
    links = sandbox.ports.links
    if target.kind == "visit":
        allows = links.find(target.port, target.token)
        _check_key(handler, allows)
        return Admitted(sandbox, allows)
    allows = links.check(target.port, target.token)
    return Admitted(sandbox, allows, visit=links.visit(allows) if is_navigation(handler) else None)


def _check_key(handler: PodflareHandler, allows: Pass) -> None:
    """A visit ends with the key by which it began."""
    if allows.key_id is not None and (handler.slot.ring is None or handler.slot.ring.check_id(allows.key_id) is None):
        raise UnauthenticatedError("The API key by which this visit began was revoked.")


async def _by_caller(handler: PodflareHandler, target: Target) -> Admitted:
    ring = handler.slot.ring
    caller = await recognise(handler, ring, handler.identity_provider) if ring is not None else None
    if caller is None:
        raise UnauthenticatedError("This call needs an API key: send the header 'Authorization: Bearer <key>'.")
    handler.take_caller(caller)
    if not await ensure_async(handler.authorizer.is_authorized(handler, caller.user, "execute", RESOURCE)):
        raise ForbiddenError("You may not use the ports of sandboxes.")
    services = await handler.services()
    sandbox = services.sandboxes.get(caller.tenant.id, target.sandbox_id)
    allows = sandbox.ports.links.for_owner(target.port, caller.key.id if caller.key else None)
    return _here_or_visit(handler, caller, sandbox, allows)


def _here_or_visit(handler: PodflareHandler, caller: Caller, sandbox: Sandbox, allows: Pass) -> Admitted:
    if caller.explicit:
        return Admitted(sandbox, allows, by_key=True)
    headers = handler.request.headers
    if handler.request.method not in {"GET", "HEAD"} or is_websocket(handler) or "Origin" in headers:
        raise ForbiddenError(BY_COOKIE)
    return Admitted(sandbox, allows, visit=sandbox.ports.links.visit(allows))


def _refuse_keys_in_the_address(handler: PodflareHandler, target: Target) -> None:
    for value in parse_qs(target.query[1:]).get("token", ()) if "token" in target.query else ():
        if is_ours(handler, value):
            raise InvalidArgumentError(KEY_IN_THE_ADDRESS)


def is_ours(handler: PodflareHandler, secret: str) -> bool:
    """Whether this is a key, or the token of the Jupyter server that hosts us."""
    ring = handler.slot.ring
    known = ring is not None and ring.check(secret) is not None
    return known or secret == (getattr(handler.identity_provider, "token", None) or None)


def _refuse_foreign_pages(handler: PodflareHandler) -> None:
    """A page of another site that got hold of an address may look, as at anything, but neither write nor connect."""
    origin = handler.request.headers.get("Origin")
    if origin in {None, OPAQUE, own_origin(handler)}:
        return
    if handler.request.method not in SAFE_METHODS or is_websocket(handler):
        raise ForbiddenError(FOREIGN_ORIGIN)


def own_origin(handler: PodflareHandler) -> str:
    """The origin of this service, as the client names it."""
    return f"{handler.request.protocol}://{handler.request.host}"


def is_websocket(handler: PodflareHandler) -> bool:
    """Whether a request asks for one."""
    headers = handler.request.headers
    connection = {word.strip().lower() for word in headers.get("Connection", "").split(",")}
    return (
        handler.request.method == "GET"
        and "upgrade" in connection
        and headers.get("Upgrade", "").strip().lower() == "websocket"
    )


def is_navigation(handler: PodflareHandler) -> bool:
    """Whether a browser is about to show a page, to which it may be redirected."""
    headers = handler.request.headers
    if handler.request.method not in {"GET", "HEAD"} or is_websocket(handler):
        return False
    if "Sec-Fetch-Mode" in headers:
        return headers["Sec-Fetch-Mode"] == "navigate"
    return "text/html" in headers.get("Accept", "")
