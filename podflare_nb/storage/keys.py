"""The book of API keys. A key itself is nowhere in it: only its SHA-256 is.

A plain digest suffices, and no slow one is wanted: a key is 256 random bits, so there is nothing to guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime

from sqlalchemy import Column, ForeignKey, String, Table, bindparam, delete, insert, select, update

from .columns import Moment
from .database import Database, metadata
from .tenants import tenants


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """One key as the book has it. ``digest``: hex SHA-256 of the key. Good while ``revoked_at`` is None."""

    id: str
    tenant_id: str
    digest: str
    label: str
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", String, ForeignKey(tenants.c.id), nullable=False),
    Column("digest", String, nullable=False, unique=True),
    Column("label", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("last_used_at", Moment),
    Column("revoked_at", Moment),
)

_COLUMNS = tuple(api_keys.c[column.name] for column in fields(ApiKeyRecord))
_BY_DIGEST = select(*_COLUMNS).where(api_keys.c.digest == bindparam("digest"))
_BY_ID = select(*_COLUMNS).where(api_keys.c.id == bindparam("id"))
_TOUCH = update(api_keys).where(api_keys.c.id == bindparam("key")).values(last_used_at=bindparam("at"))


class ApiKeyRecords:
    """Adds, finds and revokes keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def generation(self) -> int:
        """Changes when another process has written to the file: what was remembered must be read again."""
        return self._database.generation

    def add(self, record: ApiKeyRecord) -> None:
        """Write a new key down; its tenant must exist."""
        self._database.execute(insert(api_keys), asdict(record))

    def by_digest(self, digest: str) -> ApiKeyRecord | None:
        """Find a key by its digest, revoked or not."""
        row = self._database.execute(_BY_DIGEST, {"digest": digest}).mappings().first()
        return None if row is None else ApiKeyRecord(**row)

    def get(self, key_id: str) -> ApiKeyRecord | None:
        """Find a key by its id, revoked or not."""
        row = self._database.execute(_BY_ID, {"id": key_id}).mappings().first()
        return None if row is None else ApiKeyRecord(**row)

    def list(self) -> list[ApiKeyRecord]:
        """Read all, oldest first."""
        rows = self._database.execute(select(*_COLUMNS).order_by(api_keys.c.created_at)).mappings()
        return [ApiKeyRecord(**row) for row in rows]

    def revoke(self, key_id: str, at: datetime) -> bool:
        """Revoke a key for good; False when there is no such key, or it was revoked before."""
        statement = (
            update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)).values(revoked_at=at)
        )
        return self._database.execute(statement).rowcount > 0

    def remove(self, key_id: str) -> None:
        """Remove a key from the book altogether."""
        self._database.execute(delete(api_keys).where(api_keys.c.id == key_id))

    def touch(self, used: Mapping[str, datetime]) -> None:
        """Write down when keys were last used, by key id."""
        for key_id, at in used.items():
            self._database.execute(_TOUCH, {"key": key_id, "at": at})
