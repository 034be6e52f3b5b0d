"""Rows that an application may leave in ``images``, where a database has no constraints: each kind as SQL."""

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import text

from db.store.session import Database

#: Changes of a row, in SQL, that both databases' constraints refuse: and what is said of it.
ODD = {
    "an id with an escape code": ("id = 'odd' || chr(27)", "id"),
    "an account with a line break": ("account_id = 'a' || chr(10) || 'b'", "account_id"),
    "an account of U+FFFD": ("account_id = chr(65533)", "account_id"),
    "an empty url": ("url = ''", "url"),
    "a url of a million characters": ("url = {million}", "url"),
    "a url with a line separator": ("url = chr(8232)", "url"),
    "a url of many bytes": ("url = {wide}", "url"),
    "attempts that cannot grow": ("attempts = 2147483647", "attempts"),
    "sends below any count": ("sends = -2147483648", "sends"),
}
ODD_ON_POSTGRESQL = {
    "a lease until infinity": ("lease_until = 'infinity'", "lease_until"),
    "added before all times": ("created_at = '-infinity'", "created_at"),
    "added too late": ("created_at = '20000-01-01'", "created_at"),
    "changed before Christ": ("changed_at = '0044-03-15 BC'", "changed_at"),
    "never due": ("next_attempt_at = 'infinity'", "next_attempt_at"),
}
ODD_ON_SQLITE = {
    "an id that is a blob": ("id = x'6f6464'", "id"),
    "an id in Latin-1": ("id = CAST(x'6f6464e9' AS TEXT)", "id"),
    "an id that is a lone byte of UTF-8": ("id = CAST(x'6f6464a9' AS TEXT)", "id"),
    "an id with NUL": ("id = 'odd' || char(0) || 'x'", "id"),
    "an account that is a number": ("account_id = CAST(7 AS BLOB)", "account_id"),
    "a url in UTF-16": ("url = CAST(x'fffe68007400' AS TEXT)", "url"),
    "a url that is a blob of 5 MB": ("url = zeroblob(5000000)", "url"),
    "a lane that is none": ("lane = 'fast'", "unknown"),
    "a policy that is none": ("policy = 'lost'", "unknown"),
    "attempts that are text": ("attempts = 'many'", "attempts"),
    "losses that are infinite": ("losses = 9e999", "losses"),
    "never due": ("next_attempt_at = 'tomorrow'", "next_attempt_at"),
    "due at a number": ("next_attempt_at = CAST(1 AS BLOB)", "next_attempt_at"),
    "a lease until a word": ("lease_until = 'soon'", "lease_until"),
    "added on no day": ("created_at = '2026-02-31 00:00:00'", "created_at"),
}


_KINDS = [
    *((name, change, said, None) for name, (change, said) in ODD.items()),
    *((name, change, said, "postgresql") for name, (change, said) in ODD_ON_POSTGRESQL.items()),
    *((name, change, said, "sqlite") for name, (change, said) in ODD_ON_SQLITE.items()),
]
#: Runs a test with each kind: its change, what is said of it, and the one database that may hold it.
every_kind = pytest.mark.parametrize(
    ("change", "said", "only"), [kind[1:] for kind in _KINDS], ids=[kind[0] for kind in _KINDS]
)


def all_kinds(database: Database) -> dict[str, tuple[str, str]]:
    """What this database may hold: kind: the change of a row, and what is said of it."""
    return ODD | (ODD_ON_SQLITE if _is_sqlite(database) else ODD_ON_POSTGRESQL)


def sql(database: Database, change: str) -> str:
    """The change in this database's words."""
    million, wide = "'" + "x" * 1_000_000 + "'", "'" + "\U0001f600" * 4097 + "'"
    change = change.format(million=million, wide=wide)
    return change.replace("chr(", "char(") if _is_sqlite(database) else change


def change_unchecked(database: Database, row_id: str | int, change: str, table: str = "images") -> None:
    """Change a row behind the back of every constraint and trigger, of which some are gone afterwards."""
    if _is_sqlite(database):
        _change_sqlite(str(database.url.database), row_id, change, table)
        return
    kinds = "('c')" if table == "images" else "('c', 'f')"
    found = f"SELECT conname FROM pg_constraint WHERE contype IN {kinds} AND conrelid = 'unmask.{table}'::regclass"  # noqa: S608 - our own
    with database.engine.begin() as connection:
        for name in connection.scalars(text(found)).all():
            connection.exec_driver_sql(f"ALTER TABLE unmask.{table} DROP CONSTRAINT {name}")
        connection.exec_driver_sql(f"UPDATE unmask.{table} SET {change} WHERE id = '{row_id}'")  # noqa: S608 - our own


def _change_sqlite(path: str, row_id: str | int, change: str, table: str) -> None:
    """On a connection of its own, which minds no foreign keys."""
    with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("DROP TRIGGER IF EXISTS images_update_known_policy")
        connection.execute(f"UPDATE {table} SET {change} WHERE id = '{row_id}'")  # noqa: S608 - our own


def _is_sqlite(database: Database) -> bool:
    return database.url.get_backend_name() == "sqlite"
