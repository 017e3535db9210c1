"""The book of sandboxes: every one that ever was, who owned it, how it ended.

It is what a list, a 410 with its reason and a restart after ``kill -9`` read. Not the live state: that is
``sandboxes``' own. ``add`` lies on the path of a create and costs some hundredths of a millisecond.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Integer, RowMapping, String, Table, bindparam, or_, select, update

from ..errors import InvalidArgumentError
from ..protocol.states import EndReason
from .columns import Moment, stored
from .database import Database, metadata


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    """One sandbox as the book has it. Live while ``ended_at`` is None. ``title``: its first message.

    A branch has a ``parent_id``, the time and the last turn of its fork, and as ``family`` the id of the sandbox that
    its whole family began with. ``checkpoints``: how many it keeps.
    """

    id: str
    tenant_id: str
    template: str
    kernel_id: str | None
    created_at: datetime
    timeout_seconds: int
    idle_timeout_seconds: int
    labels: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int | float] = field(default_factory=dict)
    title: str | None = None
    ended_at: datetime | None = None
    end_reason: EndReason | None = None
    end_message: str | None = None
    family: str | None = None
    parent_id: str | None = None
    forked_turn_id: str | None = None
    forked_at: datetime | None = None
    merged_into: str | None = None
    checkpoints: int = 0


sandboxes = Table(
    "sandboxes",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("tenant_id", String, nullable=False),
    Column("template", String, nullable=False),
    Column("kernel_id", String),
    Column("created_at", Moment, nullable=False),
    Column("timeout_seconds", Integer, nullable=False),
    Column("idle_timeout_seconds", Integer, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("limits", JSON, nullable=False),
    Column("title", String),
    Column("ended_at", Moment),
    Column("end_reason", String),
    Column("end_message", String),
    Column("family", String),
    Column("parent_id", String),
    Column("forked_turn_id", String),
    Column("forked_at", Moment),
    Column("merged_into", String),
    Column("checkpoints", Integer, nullable=False, server_default="0"),
)

FIELDS = tuple(column.name for column in fields(SandboxRecord))
_COLUMNS = tuple(sandboxes.c[name] for name in FIELDS)
# Built once: building a statement costs more than running it.
_INSERT = f"INSERT INTO sandboxes ({', '.join(FIELDS)}) VALUES ({', '.join('?' * len(FIELDS))})"  # noqa: S608 - names
_GET = select(*_COLUMNS).where(sandboxes.c.id == bindparam("id"))
_FAMILY = (
    select(*_COLUMNS)
    .where(or_(sandboxes.c.id == bindparam("first"), sandboxes.c.family == bindparam("first")))
    .order_by(sandboxes.c.sequence.desc())
    .limit(bindparam("most"))
)
_FORK = (
    select(sandboxes.c.id)
    .where(sandboxes.c.parent_id == bindparam("parent_id"), sandboxes.c.forked_at == bindparam("at", type_=Moment))
    .order_by(sandboxes.c.sequence)
)


class SandboxRecords:
    """Adds, changes and reads records. Synchronous: each call is one indexed statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: SandboxRecord) -> None:
        """Write a new sandbox down."""
        self._database.insert(_INSERT, [_stored(getattr(record, name)) for name in FIELDS])

    def update(self, sandbox_id: str, **changes: Any) -> None:
        """Change fields of one record, by their names; an unknown id changes nothing."""
        if unknown := changes.keys() - set(FIELDS):
            raise TypeError(f"SandboxRecord has no field {', '.join(sorted(unknown))}.")
        self._database.execute(update(sandboxes).where(sandboxes.c.id == sandbox_id).values(changes))

    def get(self, sandbox_id: str) -> SandboxRecord | None:
        """Read one, live or ended, whoever owns it; None when there never was one."""
        row = self._database.execute(_GET, {"id": sandbox_id}).mappings().first()
        return None if row is None else _record(row)

    def page(
        self, tenant_id: str, *, limit: int, before: str | None = None, include_closed: bool = False
    ) -> list[SandboxRecord]:
        """Read up to ``limit`` of a tenant's sandboxes, newest first, older than the sandbox ``before``.

        The cursor is a sandbox's id and stays good whatever is added or ends meanwhile.
        """
        query = select(*_COLUMNS).where(sandboxes.c.tenant_id == tenant_id)
        if before is not None:
            query = query.where(sandboxes.c.sequence < self._sequence(tenant_id, before))
        if not include_closed:
            query = query.where(sandboxes.c.ended_at.is_(None))
        query = query.order_by(sandboxes.c.sequence.desc()).limit(limit)
        return [_record(row) for row in self._database.execute(query).mappings()]

    def family(self, first: str, *, limit: int) -> list[SandboxRecord]:
        """Read a family by the id of its first sandbox, live and ended ones, oldest first; the newest ``limit``."""
        rows = self._database.execute(_FAMILY, {"first": first, "most": limit}).mappings()
        return [_record(row) for row in rows][::-1]

    def of_fork(self, parent_id: str, at: datetime) -> list[str]:
        """List the branches that one fork made."""
        return list(self._database.execute(_FORK, {"parent_id": parent_id, "at": at}).scalars())

    def end_live(self, reason: EndReason, message: str, at: datetime) -> int:
        """Mark every live sandbox as ended: at a start, for what a killed server left. Returns how many."""
        ended = self._database.execute(
            update(sandboxes)
            .where(sandboxes.c.ended_at.is_(None))
            .values(ended_at=at, end_reason=reason, end_message=message)
        )
        return ended.rowcount

    def _sequence(self, tenant_id: str, sandbox_id: str) -> int:
        found = self._database.execute(
            select(sandboxes.c.sequence).where(sandboxes.c.id == sandbox_id, sandboxes.c.tenant_id == tenant_id)
        ).scalar_one_or_none()
        if found is None:
            raise InvalidArgumentError(
                f"cursor {sandbox_id!r} is none that a list gave you; pass next_cursor as you got it."
            )
        return int(found)


def _stored(value: Any) -> Any:
    if isinstance(value, datetime):
        return stored(value)
    return json.dumps(value) if isinstance(value, dict) else value


def _record(row: RowMapping) -> SandboxRecord:
    return SandboxRecord(**row)
