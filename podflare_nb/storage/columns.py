"""Column types that SQLite does not have: a moment in time, with its zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Dialect, TypeDecorator

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def stored(value: datetime) -> int:
    """A moment as the file has it. Raises ValueError for a naive one."""
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; store aware datetimes only.")
    return (value - EPOCH) // MICROSECOND


class Moment(TypeDecorator[datetime]):
    """An aware datetime, stored as whole microseconds since the epoch: it sorts and keeps every digit."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Refuse a naive datetime: it would be read back as another moment."""
        return None if value is None else stored(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Give it back in UTC."""
        return None if value is None else EPOCH + value * MICROSECOND
