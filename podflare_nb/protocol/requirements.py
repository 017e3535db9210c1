"""Packages as users and operators may write them: names with versions, Python's (PEP 508) and Debian's; no addresses,
paths or options."""

from __future__ import annotations

import re

from packaging.requirements import InvalidRequirement, Requirement

from ..errors import InvalidArgumentError

_DEBIAN = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+](:[a-z0-9-]+)?(=[A-Za-z0-9][A-Za-z0-9.+:~-]*)?")


def requirement(text: str) -> str:
    """One, in its one spelling. Raises InvalidArgumentError that shows it."""
    try:
        found = Requirement(text.strip())
    except InvalidRequirement as error:
        raise _wrong(text) from error
    if found.url is not None:
        raise _wrong(text)
    return str(found)


def debian_package(text: str) -> str:
    """A package's name, as apt takes it. Raises InvalidArgumentError that shows it."""
    if not _DEBIAN.fullmatch(text):
        raise InvalidArgumentError(
            f"apt has {text[:80]!r}; it must be the name of a Debian package such as 'jq' or 'jq=1.6-2'; options and "
            "paths are not taken.",
            field="apt",
        )
    return text


def _wrong(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"python has {text[:80]!r}; it must be a requirement such as 'polars>=1.0'; options, paths and addresses are "
        "not taken.",
        field="python",
    )
