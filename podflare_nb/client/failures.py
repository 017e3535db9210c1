"""What httpx says went wrong, and what the service refused, as errors whose sentences say what to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .errors import (
    ConnectionLostError,
    PodflareError,
    ServiceUnreachableError,
    UnauthenticatedError,
    error_of_answer,
)

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .lean_httpx import httpx


def refusal(endpoint: Endpoint, response: httpx.Response, content: bytes) -> PodflareError:
    """Read a refusal. One for the key's sake also says where the key came from."""
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    told = response.headers.get("Retry-After", "")
    retry_after = float(told) if told.isdecimal() else None
    url = str(response.url.copy_with(query=None))
    error = error_of_answer(response.status_code, answer, url=url, retry_after=retry_after)
    if not isinstance(error, UnauthenticatedError):
        return error
    message = f"{error.message} (The key was taken from {endpoint.key_source}.)"
    return UnauthenticatedError(message, status=error.status, details=error.details)


def unreachable(endpoint: Endpoint, cause: Exception) -> ServiceUnreachableError:
    """Nobody answers there: nothing was sent."""
    advice = "Start the service with `make run` or `podflare-nb serve`" if endpoint.is_loopback else "Check the URL"
    error = ServiceUnreachableError(
        f"Nothing answers at {endpoint.url} ({_said(cause)}). {advice}, or name another service with host= or "
        "PODFLARE_NB_URL."
    )
    error.__cause__ = cause
    return error


def lost(endpoint: Endpoint, cause: Exception) -> ConnectionLostError:
    """Something was sent, and no whole answer came."""
    error = ConnectionLostError(
        f"The connection to {endpoint.url} was lost before the answer came ({_said(cause)}); whether the request "
        "took effect is not known."
    )
    error.__cause__ = cause
    return error


def _said(cause: Exception) -> str:
    return str(cause) or type(cause).__name__
