"""Who sends a request: by key in a header or URL, by our login cookie, or whoever the host's own Jupyter let in.

``recognise`` is what our handlers ask, in our service and inside a user's own JupyterLab alike. In our service
``TenantIdentityProvider`` gives the same answer to Jupyter's own handlers. The cookie holds a key's id, signed with
the server's cookie secret: a revoked key ends the login too. It is ours, not Jupyter's: a key of ours never logs
anyone in to the Jupyter server that hosts us.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from dataclasses import dataclass
from inspect import isawaitable

from jupyter_server.auth import IdentityProvider, User
from tornado import web
from traitlets import Instance

from .api_key import ApiKey
from .key_ring import KeyRing
from .tenant import LOCAL_TENANT_ID, Tenant

AUTHORIZATION = re.compile(r"(?:bearer|token)\s+(\S+)\s*", re.IGNORECASE)
COOKIE_DAYS = 30
NOT_A_NAME = re.compile(r"[^A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request. ``principal`` is the verified name for the record; ``key`` None: Jupyter's own login.

    ``explicit``: by a key or token that the request itself carries, which no other site can make a browser send.
    """

    user: User
    tenant: Tenant
    principal: str
    explicit: bool
    key: ApiKey | None = None


def sent_secret(handler: web.RequestHandler) -> str | None:
    """Give the key that a request carries in ``Authorization`` or ``?token=``; None if it has neither."""
    match = AUTHORIZATION.fullmatch(handler.request.headers.get("Authorization", ""))
    if match:
        return match.group(1)
    return handler.get_query_argument("token", None) or None


def recognise_key(handler: web.RequestHandler, ring: KeyRing) -> Caller | None:
    """Recognise a caller by a key of ours, or by the login that came of one."""
    secret = sent_secret(handler)
    explicit = secret is not None
    if secret is not None:
        known = ring.check(secret)
    else:
        cookie = handler.get_signed_cookie(cookie_name(handler), max_age_days=COOKIE_DAYS)
        known = ring.check_id(cookie.decode()) if cookie else None
    if known is None:
        return None
    key, tenant = known
    return Caller(_user(tenant), tenant, tenant.id, explicit, key)


async def recognise(handler: web.RequestHandler, ring: KeyRing, host: IdentityProvider) -> Caller | None:
    """Recognise a caller by a key of ours; else whom the host's Jupyter knows, as of the local tenant."""
    caller = recognise_key(handler, ring)
    if caller is not None or isinstance(host, TenantIdentityProvider):
        return caller
    found: User | Awaitable[User | None] | None = host.get_user(handler)
    user = await found if isawaitable(found) else found
    if user is None:
        return None
    explicit = bool(getattr(handler, "_token_authenticated", False))
    return Caller(user, ring.tenant(LOCAL_TENANT_ID), user.username, explicit)


def log_in(handler: web.RequestHandler, caller: Caller, path: str) -> None:
    """Set the login cookie of a caller that sent a key, for URLs below ``path``."""
    if caller.key is not None:
        handler.set_signed_cookie(
            cookie_name(handler),
            caller.key.id,
            expires_days=COOKIE_DAYS,
            path=path,
            httponly=True,
            samesite="Lax",
            secure=handler.request.protocol == "https",
        )


def cookie_name(handler: web.RequestHandler) -> str:
    """Name the cookie by host and port: browsers share cookies among the ports of a host."""
    return "podflare-nb-" + NOT_A_NAME.sub("-", handler.request.host)


def _user(tenant: Tenant) -> User:
    return User(username=tenant.id, display_name=tenant.name)


class TenantIdentityProvider(IdentityProvider):
    """Jupyter's seam for identity, answered from the key ring: what ``podflare-nb serve`` installs.

    Until the extension has been loaded it knows nobody.
    """

    ring = Instance(KeyRing, allow_none=True)

    def _token_default(self) -> str:
        # Jupyter's single token would be a second way in, for nobody's tenant.
        return ""

    def get_user(self, handler: web.RequestHandler) -> User | None:
        """Recognise the user; called by every handler's prepare."""
        caller = recognise_key(handler, self.ring) if self.ring is not None else None
        if caller is None:
            return None
        # Read by is_token_authenticated, which exempts from the checks against forged cross-site requests.
        handler._token_authenticated = caller.explicit  # type: ignore[attr-defined] # noqa: SLF001 - Jupyter's seam
        return caller.user

    def process_login_form(self, handler: web.RequestHandler) -> User | None:
        """Take the key that was typed into Jupyter's login page; called by its POST."""
        known = self.ring.check(handler.get_body_argument("password", "")) if self.ring is not None else None
        if known is None:
            return None
        key, tenant = known
        caller = Caller(_user(tenant), tenant, tenant.id, explicit=True, key=key)
        log_in(handler, caller, handler.settings["base_url"])
        return caller.user

    def set_login_cookie(self, handler: web.RequestHandler, user: User) -> None:
        """Do nothing: ``process_login_form`` has set ours, and it names the key, which ``user`` does not."""

    def clear_login_cookie(self, handler: web.RequestHandler) -> None:
        """Log out; called by Jupyter's logout page."""
        for path in (handler.settings["base_url"], handler.settings["base_url"] + "podflare"):
            handler.clear_cookie(cookie_name(handler), path=path)
