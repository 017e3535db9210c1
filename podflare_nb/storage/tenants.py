"""The book of tenants: who may use the service, and how much of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime

from sqlalchemy import Column, Integer, String, Table, bindparam, select
from sqlalchemy.dialects.sqlite import insert

from .columns import Moment
from .database import Database, metadata


@dataclass(frozen=True, slots=True)
class TenantRecord:
    """One tenant as the book has it. ``max_memory_mib``: of its live sandboxes together; None: unlimited."""

    id: str
    name: str
    created_at: datetime
    max_sandboxes: int
    max_memory_mib: int | None = None


tenants = Table(
    "tenants",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("max_sandboxes", Integer, nullable=False),
    Column("max_memory_mib", Integer),
)

_COLUMNS = tuple(tenants.c[column.name] for column in fields(TenantRecord))
_GET = select(*_COLUMNS).where(tenants.c.id == bindparam("id"))


class TenantRecords:
    """Adds and reads tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, record: TenantRecord) -> None:
        """Write a tenant down, or its new name and quotas."""
        changed = ("name", "max_sandboxes", "max_memory_mib")
        statement = insert(tenants)
        self._database.execute(
            statement.on_conflict_do_update(
                index_elements=[tenants.c.id], set_={name: statement.excluded[name] for name in changed}
            ),
            asdict(record),
        )

    def get(self, tenant_id: str) -> TenantRecord | None:
        """Read one; None when there is none."""
        row = self._database.execute(_GET, {"id": tenant_id}).mappings().first()
        return None if row is None else TenantRecord(**row)

    def list(self) -> list[TenantRecord]:
        """Read all, by id."""
        rows = self._database.execute(select(*_COLUMNS).order_by(tenants.c.id)).mappings()
        return [TenantRecord(**row) for row in rows]
