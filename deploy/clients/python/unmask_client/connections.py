"""Runs statements on an application's own connection of any supported kind, inside its transaction.

This module imports SQLAlchemy only when the application passes one of its objects.
"""

from __future__ import annotations

import inspect
import itertools
import re
import sys
from collections.abc import Coroutine, Generator, Mapping
from typing import Any, NamedTuple, TypeVar

#: The supported databases. SQLite has no schemas.
_DIALECTS = ("postgresql", "sqlite")
#: The database of each DB-API module.
_DRIVERS = {
    "sqlite3": "sqlite",
    "pysqlite2": "sqlite",
    "psycopg": "postgresql",
    "psycopg2": "postgresql",
    "pg8000": "postgresql",
}
#: A schema's name that is safe between quotes.
_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_NAME = re.compile(r":(\w+)")
_WANTED = (
    "conn must be a SQLAlchemy Session, Connection, AsyncSession or AsyncConnection, a Django connection, or a "
    "connection or cursor of psycopg, psycopg2, pg8000 or sqlite3"
)


class Statement(NamedTuple):
    """SQL with ``:name`` for each value, and ``{schema}`` before each table."""

    text: str
    values: Mapping[str, object]


class Answer(NamedTuple):
    """The number of rows that a statement changed, or the rows that it found."""

    changed: int
    rows: list[dict[str, Any]]


_T = TypeVar("_T")
#: A generator that yields each statement, receives its answer, and returns a value in the end.
Steps = Generator[Statement, Answer, _T]


class _SqlAlchemy:
    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self.dialect = _dialect_of(conn)

    def run(self, statement: Statement) -> Answer:
        return _answer(self._conn.execute(_clause(statement), dict(statement.values)))


class _AsyncSqlAlchemy:
    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self.dialect = _dialect_of(conn)

    async def run(self, statement: Statement) -> Answer:
        return _answer(await self._conn.execute(_clause(statement), dict(statement.values)))


class _DbApi:
    def __init__(self, conn: Any, dialect: str, paramstyle: str) -> None:
        self._conn = conn
        self._paramstyle = paramstyle
        self.dialect = dialect

    def run(self, statement: Statement) -> Answer:
        if not callable(getattr(self._conn, "cursor", None)):  # it is a cursor
            return self._run(self._conn, statement)
        cursor = self._conn.cursor(**_tuples(self._conn))
        try:
            return self._run(cursor, statement)
        finally:
            cursor.close()

    def _run(self, cursor: Any, statement: Statement) -> Answer:
        cursor.execute(*_rendered(statement, self._paramstyle))
        if cursor.description is None:
            return Answer(cursor.rowcount, [])
        names = [column[0] for column in cursor.description]
        return Answer(0, [_named(names, row) for row in cursor.fetchall()])


def run(conn: Any, schema: str, steps: Steps[_T]) -> _T | Coroutine[Any, Any, _T]:
    """Run the statements of ``steps`` and return its value; on an async connection, return a coroutine.

    Raises ValueError for an invalid name of a schema, and TypeError for an unsupported ``conn``.
    """
    if not isinstance(schema, str) or not _SCHEMA.fullmatch(schema):
        raise ValueError(f"schema must be the name of a PostgreSQL schema: {ascii(schema)[:80]}")
    target = _target(conn)
    if target.dialect not in _DIALECTS:
        raise TypeError(f"Unmask's record is in PostgreSQL or SQLite, and conn is a connection to {target.dialect}")
    prefix = "" if target.dialect == "sqlite" else f'"{schema}".'
    if isinstance(target, _AsyncSqlAlchemy):
        return _drive_async(target, prefix, steps)
    return _drive(target, prefix, steps)


def _drive(target: _SqlAlchemy | _DbApi, prefix: str, steps: Steps[_T]) -> _T:
    statement = next(steps)
    while True:
        answer = target.run(_placed(statement, prefix))
        try:
            statement = steps.send(answer)
        except StopIteration as end:
            value: _T = end.value
            return value


async def _drive_async(target: _AsyncSqlAlchemy, prefix: str, steps: Steps[_T]) -> _T:
    statement = next(steps)
    while True:
        answer = await target.run(_placed(statement, prefix))
        try:
            statement = steps.send(answer)
        except StopIteration as end:
            value: _T = end.value
            return value


def _placed(statement: Statement, prefix: str) -> Statement:
    return statement._replace(text=statement.text.format(schema=prefix))


def _target(conn: Any) -> _SqlAlchemy | _AsyncSqlAlchemy | _DbApi:
    conn = getattr(conn, "dbapi_connection", None) or conn  # SQLAlchemy's raw_connection() wraps the driver's
    modules = [kind.__module__ for kind in type(conn).__mro__]
    if any(module.startswith("sqlalchemy.ext.asyncio") for module in modules):
        return _AsyncSqlAlchemy(conn)
    if any(module.startswith("sqlalchemy.") for module in modules) and hasattr(conn, "execute"):
        return _SqlAlchemy(conn)
    vendor = getattr(getattr(conn, "db", conn), "vendor", None)  # a cursor of Django has it in its ``db``
    if vendor and any(module.startswith("django.") for module in modules):
        return _DbApi(conn, vendor, "format")  # Django's style, whatever its driver's is
    return _driver(conn)


def _driver(conn: Any) -> _DbApi:
    for module in (kind.__module__ for kind in type(conn).__mro__):
        root = module.partition(".")[0]
        if root in _DRIVERS and not _is_awaited(conn) and _is_db_api(conn):
            style = getattr(sys.modules[module], "paramstyle", None) or sys.modules[root].paramstyle
            return _DbApi(conn, _DRIVERS[root], style)
    raise TypeError(f"{_WANTED}, not {type(conn).__module__}.{type(conn).__qualname__}")


def _is_awaited(conn: Any) -> bool:
    return inspect.iscoroutinefunction(getattr(conn, "execute", None))


def _is_db_api(conn: Any) -> bool:
    return callable(getattr(conn, "cursor", None)) or hasattr(conn, "rowcount")


def _dialect_of(conn: Any) -> str:
    """The dialect of a connection, or of the engine that a session is bound to."""
    bound = conn.get_bind() if hasattr(conn, "get_bind") else conn
    return str(bound.dialect.name)


def _clause(statement: Statement) -> Any:
    from sqlalchemy import text

    return text(statement.text)


def _answer(result: Any) -> Answer:
    if not result.returns_rows:
        return Answer(result.rowcount, [])
    names = list(result.keys())
    return Answer(0, [_named(names, row) for row in result.fetchall()])


def _named(names: list[str], row: Any) -> dict[str, Any]:
    return dict(row) if isinstance(row, Mapping) else dict(zip(names, row))


def _tuples(conn: Any) -> dict[str, Any]:
    """A cursor whose rows are tuples: a psycopg 3 connection may have another row factory."""
    if not hasattr(conn, "row_factory") or "psycopg" not in sys.modules:
        return {}
    psycopg = sys.modules["psycopg"]
    return {"row_factory": psycopg.rows.tuple_row} if isinstance(conn, psycopg.Connection) else {}


def _rendered(statement: Statement, paramstyle: str) -> tuple[str, Any]:
    """SQL and values in the driver's parameter style (PEP 249)."""
    if paramstyle == "named":
        return statement.text, dict(statement.values)
    if paramstyle == "pyformat":
        return _NAME.sub(r"%(\1)s", statement.text), dict(statement.values)
    count = itertools.count(1)
    mark = {"qmark": "?", "format": "%s"}.get(paramstyle)
    text = _NAME.sub(lambda _: mark or f":{next(count)}", statement.text)  # the one that is left is "numeric"
    return text, [statement.values[name] for name in _NAME.findall(statement.text)]
