"""Python requirements as users and operators may write them: names with versions (PEP 508), no addresses or options."""

from __future__ import annotations

from packaging.requirements import InvalidRequirement, Requirement

from ..errors import InvalidArgumentError


def requirement(text: str) -> str:
    """One, in its one spelling. Raises InvalidArgumentError that shows it."""
    try:
        found = Requirement(text.strip())
    except InvalidRequirement as error:
        raise _wrong(text) from error
    if found.url is not None:
        raise _wrong(text)
    return str(found)


def _wrong(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"python has {text[:80]!r}; it must be a requirement such as 'polars>=1.0'; options, paths and addresses are "
        "not taken.",
        field="python",
    )
