"""API keys: how they are made, and how one is recognised.

A key is ``pfnb_`` and 256 random bits in base 62-like text (URL-safe base64). The service keeps its SHA-256 only.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ..errors import InvalidArgumentError

PREFIX = "pfnb_"
MIN_LENGTH = 16
MAX_LENGTH = 256


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its owner may see it: never the key itself."""

    id: str
    tenant_id: str
    label: str
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


def new_secret(random: Callable[[int], bytes]) -> str:
    """Make a new key from 32 bytes of ``random`` (``secrets.token_bytes``)."""
    return PREFIX + urlsafe_b64encode(random(32)).rstrip(b"=").decode()


def digest(secret: str) -> str:
    """Give what is stored of a key: its SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def check_chosen(secret: str) -> str:
    """Accept a key that a person chose (``--api-key``), or say why not: it goes into headers and URLs."""
    if not MIN_LENGTH <= len(secret) <= MAX_LENGTH:
        raise InvalidArgumentError(
            f"The API key has {len(secret)} characters; it must have {MIN_LENGTH} to {MAX_LENGTH}. "
            "Leave --api-key out to have one generated."
        )
    if not all(character.isascii() and (character.isalnum() or character in "-_.~") for character in secret):
        raise InvalidArgumentError(
            "The API key may hold letters, digits and - _ . ~ only: it travels in headers and URLs."
        )
    return secret
