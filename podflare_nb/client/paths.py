"""Paths of a workspace in a URL, so that the service sees what the caller wrote and judges it."""

from __future__ import annotations

from urllib.parse import quote

from .errors import InvalidArgumentError


def url_path(path: str) -> str:
    """Quote a path of the workspace. Dots stay visible to the service: an HTTP client would resolve ``..``."""
    if not path or "\x00" in path:
        raise InvalidArgumentError(f"The path {path!r} names no file.")
    parts = _quoted(path, safe="/").split("/")
    return "/".join(part.replace(".", "%2E") if part in {".", ".."} else part for part in parts)


def url_segment(name: str) -> str:
    """Quote one name of a URL's path, such as an id: whatever it holds, it leads to nothing else of the API."""
    if not name:
        raise InvalidArgumentError("An id is empty; ids are as sbx_4f1c...")
    return name.replace(".", "%2E") if name in {".", ".."} else _quoted(name, safe="")


def _quoted(text: str, *, safe: str) -> str:
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"{text!r} holds half of a surrogate pair, which no URL can name.") from error


def parent_and_name(path: str) -> tuple[str, str]:
    """Split a path; the parent of a path without a slash is the workspace itself."""
    parent, slash, name = path.rstrip("/").rpartition("/")
    return (parent or ("/" if slash else ".")), name
