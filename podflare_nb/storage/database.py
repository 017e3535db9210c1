"""The SQLite file: opened once, brought to this version's schema, spoken to through one connection.

Every statement commits by itself (autocommit): each is a single row's story, and a commit in WAL with
``synchronous=NORMAL`` costs no fsync, so that adding a sandbox stays far below a millisecond. A power cut may
lose the last commits, never the file. The event loop calls this directly; nothing here waits for another
process longer than ``BUSY_TIMEOUT_MS``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import CursorResult, Engine, Executable, MetaData, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from ..errors import ConflictError, NoCapacityError
from .migrations import MIGRATIONS, Migration

FILE_NAME = "podflare_nb.db"
BUSY_TIMEOUT_MS = 5_000

metadata = MetaData()
"""The tables as this version's code reads them; ``migrations`` make the file agree (a test compares)."""


class Database:
    """One open database. A context manager; ``close`` is idempotent."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection = engine.connect()
        # For what is asked on every request or lies on the path of a create: past SQLAlchemy it costs microseconds.
        self._raw = self._connection.connection.cursor()
        self._closed = False

    @classmethod
    def open(cls, data_dir: Path, *, migrations: Sequence[Migration] = MIGRATIONS) -> Self:
        """Open ``<data_dir>/podflare_nb.db``, made with mode 0600 when missing, at this version's schema."""
        path = data_dir / FILE_NAME
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
        except OSError as error:
            raise ConflictError(
                f"The data directory {data_dir} cannot be used: {error.strerror}. Choose another one (--data-dir)."
            ) from error
        engine = create_engine(
            f"sqlite:///{path}",
            # One connection for the life of the process: no pool check-out and no BEGIN on the create path.
            poolclass=StaticPool,
            connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
            isolation_level="AUTOCOMMIT",
        )
        event.listen(engine, "connect", _set_pragmas)
        try:
            database = cls(engine)
            database._migrate(migrations)
        except DatabaseError as error:
            engine.dispose()
            raise ConflictError(
                f"The database {path} cannot be used: {error.orig}. Move it away to start with an empty one."
            ) from error
        except ConflictError:
            engine.dispose()
            raise
        return database

    def execute(self, statement: Executable, values: Mapping[str, Any] | None = None) -> CursorResult[Any]:
        """Run one statement; it is committed when this returns. Raises NoCapacityError when the disk is full."""
        try:
            return self._connection.execute(statement, values)
        except OperationalError as error:
            raise _told(error.orig) or error from error

    def insert(self, statement: str, values: Sequence[Any]) -> None:
        """Run one INSERT with values as SQLite has them; it is committed when this returns. Raises as ``execute``."""
        try:
            self._raw.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise _told(error) or error from error

    @property
    def schema_version(self) -> int:
        """How many migrations the file has seen."""
        return int(self._connection.exec_driver_sql("PRAGMA user_version").scalar_one())

    @property
    def generation(self) -> int:
        """A number that differs once another process or connection has written; our own writes leave it."""
        return int(self._raw.execute("PRAGMA data_version").fetchone()[0])

    def _migrate(self, migrations: Sequence[Migration]) -> None:
        """Run what the file has not seen, each in a transaction of its own, forward only."""
        seen = self.schema_version
        if seen > len(migrations):
            raise ConflictError(
                f"The database was written by a newer podflare_nb (schema {seen}, this one knows "
                f"{len(migrations)}). Upgrade podflare_nb, or use another data directory."
            )
        for version, migration in enumerate(migrations[seen:], start=seen + 1):
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                for statement in migration:
                    self._connection.exec_driver_sql(statement)
                self._connection.exec_driver_sql(f"PRAGMA user_version = {version}")
            except BaseException:
                self._connection.exec_driver_sql("ROLLBACK")
                raise
            self._connection.exec_driver_sql("COMMIT")

    def close(self) -> None:
        """Close the connection and fold the write-ahead log into the file."""
        if not self._closed:
            self._closed = True
            self._raw.close()
            self._connection.close()
            self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Database {self._engine.url.database} {'closed' if self._closed else 'open'}>"


def _set_pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _told(error: BaseException | None) -> NoCapacityError | None:
    """What a caller can do something about."""
    if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
        return None
    return NoCapacityError("This could not be recorded: the disk of the data directory is full. Free space there.")
