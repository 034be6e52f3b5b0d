"""One clock: the database's. Leases and due times are compared on it, whatever a worker's own clock says."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Date, DateTime, Dialect, Float, TypeDecorator
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement, bindparam
from sqlalchemy.types import TypeEngine

#: What is read in place of a time that is none, or that Python cannot hold.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class _AnyText(sqlite.DATETIME):
    """SQLite's times. It may hold anything in their place, which must not fail a query for the rows beside it."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        read: Any = super().result_processor(dialect, coltype)

        def process(value: Any) -> datetime | None:
            try:
                found: datetime | None = read(value)
            except (ValueError, TypeError):
                return EARLIEST
            return found

        return process


_ANY_TEXT = _AnyText()  # type: ignore[no-untyped-call]  # its base has no types


class UtcDateTime(TypeDecorator[datetime]):
    """Times with a zone, in and out, also on a database that stores none (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """What reads any text on SQLite."""
        return dialect.type_descriptor(_ANY_TEXT if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; raises `ValueError` for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"time {value} has no zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read as UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class moment(FunctionElement[datetime]):  # noqa: N801 - named like the SQL function that it is
    """``moment(s)``: the database's time, ``s`` seconds from now (or ago)."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, seconds: float | ColumnElement[float] = 0.0) -> None:
        given = isinstance(seconds, ColumnElement)
        super().__init__(seconds if given else bindparam(None, seconds, type_=Float))


@compiles(moment, "sqlite")
def _sqlite(element: moment, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', {seconds} || ' seconds')"


@compiles(moment, "postgresql")
def _postgresql(element: moment, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    # Not clock_timestamp(): it may change between rows, so PostgreSQL would search no index by it.
    return f"(statement_timestamp() + make_interval(secs => {seconds}))"


class now(FunctionElement[datetime]):  # noqa: N801 - the same
    """The database's time, as a column's default."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(element: now, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ARG001
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now'))"


@compiles(now, "postgresql")
def _postgresql_now(element: now, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ARG001
    return "clock_timestamp()"


class utc_day(FunctionElement[date]):  # noqa: N801 - the same
    """``utc_day(time)``: its day in UTC, whatever the database's own time zone."""

    type = Date()
    inherit_cache = True


@compiles(utc_day, "sqlite")
def _sqlite_day(element: utc_day, compiler: SQLCompiler, **options: Any) -> str:
    return f"date({compiler.process(element.clauses, **options)})"


@compiles(utc_day, "postgresql")
def _postgresql_day(element: utc_day, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AT TIME ZONE 'UTC' AS DATE)"
