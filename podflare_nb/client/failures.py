"""What a transport says went wrong, and what the service refused, as errors whose sentences say what to do."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .errors import (
    ConnectionLostError,
    PodflareError,
    ServiceUnreachableError,
    TimedOutError,
    UnauthenticatedError,
    error_of_answer,
)
from .retry import seconds_until
from .transport import NotSentError, SlowError, TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .endpoint import Endpoint


def refusal(endpoint: Endpoint, url: str, status: int, headers: Mapping[str, str], content: bytes) -> PodflareError:
    """Read a refusal. One for the key's sake also says where the key came from."""
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    retry_after = seconds_until(headers.get("retry-after", ""), time.time())
    asked = urlsplit(url)._replace(query="", fragment="").geturl()
    error = error_of_answer(status, answer, url=asked, retry_after=retry_after)
    if not isinstance(error, UnauthenticatedError):
        return error
    message = f"{error.message} (The key was taken from {endpoint.key_source}.)"
    return UnauthenticatedError(message, status=error.status, details=error.details)


def failed(endpoint: Endpoint, cause: TransportError) -> PodflareError:
    """Tell that no whole answer came."""
    if isinstance(cause, NotSentError):
        advice = "Start the service with `make run` or `podflare-nb serve`" if endpoint.is_loopback else "Check the URL"
        return ServiceUnreachableError(
            f"Nothing answers at {endpoint.url} ({_said(cause)}). {advice}, or name another service with host= or "
            "PODFLARE_NB_URL."
        )
    if isinstance(cause, SlowError):
        return TimedOutError(
            f"{endpoint.url} did not answer in time ({_said(cause)}); whether the request took effect is not known."
        )
    return ConnectionLostError(
        f"The connection to {endpoint.url} was lost before the answer came ({_said(cause)}); whether the request took "
        "effect is not known."
    )


def _said(cause: Exception) -> str:
    return str(cause) or type(cause).__name__
