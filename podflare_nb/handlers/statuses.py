"""The one table from error codes to HTTP statuses, and back for errors that Tornado and Jupyter raise."""

from __future__ import annotations

from typing import Any

from tornado.web import HTTPError

from ..errors import PodflareError

STATUS_OF_CODE = {
    "invalid_argument": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "merged": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "gone": 410,
    "too_large": 413,
    "range_not_satisfiable": 416,
    "quota_exceeded": 429,
    "internal": 500,
    "unreachable": 502,
    "no_capacity": 503,
    "isolation": 503,
    "no_answer": 504,
}
CODE_OF_STATUS = {status: code for code, status in reversed(STATUS_OF_CODE.items())}

RETRY_AFTER_SECONDS = {"quota_exceeded": 5, "no_capacity": 5}
"""How soon to try again, where the error does not know better."""

INTERNAL = "This is a fault of the service, not of the request; its log has the details."


def status_of(error: BaseException | None) -> int:
    """Give the HTTP status of an error."""
    if isinstance(error, PodflareError):
        return STATUS_OF_CODE[error.code]
    return error.status_code if isinstance(error, HTTPError) else 500


def body_of(error: BaseException | None, status: int) -> dict[str, Any]:
    """Give the JSON that tells an error: a sentence, a code and details."""
    if isinstance(error, PodflareError):
        return {"error": error.message, "code": error.code, "details": error.details}
    code = CODE_OF_STATUS.get(status, "internal" if status >= 500 else "invalid_argument")
    sentence = INTERNAL
    if status < 500:
        said = error.get_message() if isinstance(error, HTTPError) else ""
        sentence = said or f"The request was refused with status {status}."
    return {"error": sentence, "code": code, "details": {}}


def retry_after(error: BaseException | None) -> int | None:
    """Give the seconds for a Retry-After header; None where trying again later does not help."""
    if not isinstance(error, PodflareError) or error.code not in RETRY_AFTER_SECONDS:
        return None
    told = error.details.get("retry_after")
    return max(1, round(told)) if isinstance(told, int | float) else RETRY_AFTER_SECONDS[error.code]
