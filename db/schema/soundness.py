"""What a row of ``images`` must be like to be worked on, as constraints and as a condition for queries.

Applications insert these rows, also where a database lacks the constraints. Sizes, types, counts and times are limited
in every row. Control characters are refused in pending rows only: a row of before the constraints stays as it is once
it has its outcome, and can still be erased. Migration 0016 has a copy of the constraints.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Boolean, CheckConstraint
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from db.schema.base import ID_LENGTH
from db.schema.row_text import MAX_BYTES, MAX_URL

#: Columns of text that applications write, and their longest values in characters.
TEXT_LIMITS: Mapping[str, int] = {"id": ID_LENGTH, "account_id": ID_LENGTH, "url": MAX_URL, "policy": ID_LENGTH}
TIMES = ("next_attempt_at", "created_at", "changed_at", "lease_until")
COUNTS = ("attempts", "losses", "sends")
#: Counts stay this far from 0, so that none can overflow.
MAX_COUNT = 10**9
#: Times lie between these; a text that compares as greater is no time.
FIRST_TIME, LAST_TIME = "1970-01-01", "9999-01-01"
#: The SQL function by which a connection of ours to SQLite judges a row (see `db.store.sqlite_rows`).
SQLITE_FUNCTION = "unmask_sound"

_NULLABLE = {"account_id", "url", "lease_until"}
#: Control characters, line separators, and what stands for characters that could not be read.
_CONTROL = r"[\x01-\x1f\x7f-\x9f\u2028\u2029\ufffd-\uffff]"
#: Text of other characters alone, as SQLite's GLOB says it; what is not UTF-8 reads as U+FFFD.
_PLAIN_GLOB = (
    "'*[^' || char(32) || '-~' || char(160) || '-' || char(8231) || char(8234) || '-' || char(65532) "
    "|| char(65536) || '-' || char(1114111) || ']*'"
)


class is_sound(FunctionElement[bool]):  # noqa: N801 - named like the SQL function that it is
    """``is_sound(Image.id)``: whether a pending row can be worked on. No large value of it is read."""

    type = Boolean()
    inherit_cache = True


@compiles(is_sound, "postgresql")
def _postgresql(element: is_sound, compiler: SQLCompiler, **options: Any) -> str:
    table = compiler.process(element.clauses, **options).removesuffix("id")
    return f"({' AND '.join(f'({ok})' for ok in postgresql_conditions(table).values())})"


@compiles(is_sound, "sqlite")
def _sqlite(element: is_sound, compiler: SQLCompiler, **options: Any) -> str:
    table = compiler.process(element.clauses, **options).removesuffix("id")
    return f"{SQLITE_FUNCTION}({table}rowid)"


def postgresql_conditions(table: str) -> dict[str, str]:
    """What must be true of each column, and of all counts; ``table``: its name with a dot, or nothing."""
    text = {name: _plain_postgresql(f"{table}{name}", limit) for name, limit in TEXT_LIMITS.items()}
    times = {name: _time_postgresql(f"{table}{name}") for name in TIMES}
    counts = " AND ".join(f"{table}{name} BETWEEN {-MAX_COUNT} AND {MAX_COUNT}" for name in COUNTS)
    conditions = {**text, **times, "counts": counts}
    return {name: f"{table}{name} IS NULL OR {ok}" if name in _NULLABLE else ok for name, ok in conditions.items()}


def constraints() -> list[CheckConstraint]:
    """The constraints of ``images`` on both databases."""
    checks = [("postgresql", name, text) for name, text in _postgresql_checks().items()]
    checks += [("sqlite", name, text) for name, text in _sqlite_checks().items()]
    return [CheckConstraint(text, name=name).ddl_if(dialect=dialect) for dialect, name, text in checks]


def _postgresql_checks() -> dict[str, str]:
    plain = [f"{name} !~ '{_CONTROL}'" for name in TEXT_LIMITS]
    return {
        "url_size": f"octet_length(url) <= {MAX_BYTES} AND length(url) BETWEEN 1 AND {MAX_URL}",
        "detail_size": f"octet_length(detail) <= {MAX_BYTES}",
        "counts": " AND ".join(f"{name} BETWEEN {-MAX_COUNT} AND {MAX_COUNT}" for name in COUNTS),
        "times": " AND ".join(f"{name} BETWEEN '{FIRST_TIME}' AND '{LAST_TIME}'" for name in TIMES),
        "plain": " AND ".join(f"(state <> 'pending' OR {text})" for text in plain),
    }


def _sqlite_checks() -> dict[str, str]:
    checks = {f"{name}_text": _nullable(name, _text_sqlite(name, limit)) for name, limit in TEXT_LIMITS.items()}
    checks["detail_size"] = f"detail IS NULL OR (typeof(detail) = 'text' AND {_size('detail')} <= {MAX_BYTES})"
    for name in COUNTS:
        checks[name] = f"typeof({name}) = 'integer' AND {name} BETWEEN {-MAX_COUNT} AND {MAX_COUNT}"
    checks |= {name: _nullable(name, _time_sqlite(name)) for name in TIMES}
    plain = {name: _nullable(name, _plain_sqlite(name)) for name in TEXT_LIMITS}
    return checks | {f"{name}_plain": f"state <> 'pending' OR {condition}" for name, condition in plain.items()}


def _plain_postgresql(column: str, limit: int) -> str:
    size = f"octet_length({column}) <= {4 * limit} AND length({column}) BETWEEN 1 AND {limit}"
    return f"({size} AND {column} !~ '{_CONTROL}')"


def _time_postgresql(column: str) -> str:
    return f"{column} BETWEEN '{FIRST_TIME}' AND '{LAST_TIME}'"


def _nullable(name: str, condition: str) -> str:
    return f"{name} IS NULL OR ({condition})" if name in _NULLABLE else condition


def _text_sqlite(name: str, limit: int) -> str:
    return f"typeof({name}) = 'text' AND {_size(name)} <= {4 * limit} AND length({name}) BETWEEN 1 AND {limit}"


def _plain_sqlite(name: str) -> str:
    return f"(instr({name}, char(0)) = 0 AND {name} NOT GLOB {_PLAIN_GLOB})"


def _size(name: str) -> str:
    return f"length(CAST({name} AS BLOB))"


def _time_sqlite(name: str) -> str:
    """Text as SQLAlchemy and SQLite write it, a date alone included; without the fraction, which SQLite rounds."""
    second = f"substr({name}, 1, 19)"
    day = f"strftime('%Y-%m-%d', {name}, '+0 days') = {name}"  # the modifier makes another day of 31 February
    written = f"strftime('%Y-%m-%d %H:%M:%S', {second}, '+0 days') = {second} OR {day}"
    between = f"{name} BETWEEN '{FIRST_TIME}' AND '{LAST_TIME}'"
    fraction = f"substr({name}, 20) NOT GLOB '*[^.0-9]*' AND length({name}) <= 26"
    return f"typeof({name}) = 'text' AND {between} AND {fraction} AND ({written})"
