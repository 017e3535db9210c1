"""Jupyter's ``@authorized``, with both arguments required and a type.

The bare decorator keeps the first call's action and resource for ever; spelled out, there is nothing to keep.
It stands below ``@web.authenticated`` on every method that is not public.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from jupyter_server.auth.decorator import authorized as jupyter_authorized

Method = TypeVar("Method", bound=Callable[..., Any])


def authorized(action: Literal["read", "write", "execute"], *, resource: str) -> Callable[[Method], Method]:
    """Let the server's authorizer decide whether the caller may do ``action`` on ``podflare_nb:<what>``."""
    return cast("Callable[[Method], Method]", jupyter_authorized(action, resource=resource))
