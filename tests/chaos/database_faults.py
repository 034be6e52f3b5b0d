"""Harm to the record: PostgreSQL restarted, away, refusing or locked; SQLite locked or on a full disk."""

import sqlite3
from contextlib import closing

from sqlalchemy import text

from db.store.session import BUSY_TIMEOUT_S
from tests.chaos.databases import Postgres, Sqlite
from tests.chaos.fault import Fault
from tests.chaos.world import LEASE_S, World

_TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def _postgres(world: World) -> Postgres:
    assert isinstance(world.server, Postgres)
    return world.server


def _sqlite(world: World) -> Sqlite:
    assert isinstance(world.server, Sqlite)
    return world.server


def _say(world: World, *statements: str) -> None:
    """To PostgreSQL, outside any transaction."""
    with world.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements:
            connection.execute(text(statement))


def _restart(world: World) -> None:
    _postgres(world).stop("fast")
    _postgres(world).start()
    world.pause(1.0)


def _crash(world: World) -> None:
    _postgres(world).stop("immediate")
    _postgres(world).start()
    world.pause(1.0)


def _absence(world: World) -> None:
    _postgres(world).stop("fast")
    world.pause(world.absence_s)
    _postgres(world).start()


def _drop_connections(world: World) -> None:
    _say(world, _TERMINATE)


def _read_only(world: World) -> None:
    """As on a replica after a failover."""
    _say(world, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    world.pause(4.0)
    off = ("SET default_transaction_read_only = off", "ALTER SYSTEM RESET default_transaction_read_only")
    _say(world, *off, "SELECT pg_reload_conf()")


def _lock_table(world: World) -> None:
    """As a careless migration does."""
    with world.database.engine.connect() as connection:
        connection.execute(text("LOCK TABLE unmask.images IN ACCESS EXCLUSIVE MODE"))
        world.pause(1.5 * LEASE_S)


def _lock(world: World, seconds: float) -> None:
    with closing(sqlite3.connect(_sqlite(world).path, isolation_level=None, timeout=60)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        world.pause(seconds)
        writer.execute("ROLLBACK")


def _lock_briefly(world: World) -> None:
    _lock(world, 1.5 * LEASE_S)


def _lock_longer_than_anybody_waits(world: World) -> None:
    _lock(world, BUSY_TIMEOUT_S + 5)


def _fill_disk(world: World) -> None:
    with _sqlite(world).full_disk():
        world.pause(4.0)


#: Exit status of a worker that starts at that moment; its supervisor tries again.
REFUSED = frozenset({2})
RESTART = Fault("PostgreSQL: restart", _restart, 3, 1, excused=REFUSED)
CRASH = Fault("PostgreSQL: crash", _crash, 3, excused=REFUSED)
ABSENCE = Fault("PostgreSQL: 30 s away", _absence, 1, excused=REFUSED)
DROP_CONNECTIONS = Fault("PostgreSQL: connections ended", _drop_connections, 8, 2, excused=REFUSED)
READ_ONLY = Fault("PostgreSQL: read-only", _read_only, 2, 1)
LOCK_TABLE = Fault("PostgreSQL: table locked", _lock_table, 1)
LOCK = Fault("SQLite: locked by another writer", _lock_briefly, 3, 1)
LOCK_LONG = Fault("SQLite: locked for longer than the busy timeout", _lock_longer_than_anybody_waits, 1)
FILL_DISK = Fault("SQLite: disk full", _fill_disk, 2, 1)
