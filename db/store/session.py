"""Connections and transactions, on PostgreSQL and SQLite alike."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from db.store.away import is_away
from db.errors import DatabaseAwayError, DatabaseError
from db.schema import SchemaSupport

#: How long a writer waits for another to finish on SQLite, and for a connection to PostgreSQL.
BUSY_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 5
#: A connection that was used so shortly before is taken without a ping: each costs 0.2 ms of a processor.
_FRESH_S = 1.0
_USED_AT = "unmask_used_at"
#: The schemes that people write, and the driver behind each: ``postgresql://`` alone would ask for psycopg2.
_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


class Database:
    """One database: short transactions that commit whole or not at all, and errors of one line that name it."""

    def __init__(self, url: str) -> None:
        self.url = _parsed(url)
        self.name = self.url.difference_update_query(["password"]).render_as_string(hide_password=True)
        self.engine = _engine(self.url)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that commits at the end of the block."""
        with self._translated(), Session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that takes no write lock and never commits."""
        with self._translated(), Session(self.engine.execution_options(read_only=True)) as session:
            yield session

    def upgrade(self) -> tuple[str | None, str]:
        """Bring the schema to this software's; returns the revisions before and after."""
        with self._translated(), self.engine.begin() as connection:
            before = _revision(connection)
            config = _alembic()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return before, head()

    def check_schema(self) -> None:
        """Refuse a database whose schema is not this software's, nor a later one that says it still serves it."""
        with self._translated(), self.engine.execution_options(read_only=True).connect() as connection:
            found = _revision(connection)
            served = found == head() or _serves(connection, head())
        if not served:
            raise DatabaseError(
                f"database {self.name} has schema {found or 'none'}, not {head()}: run `unmask db upgrade`"
            )

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeoutError as error:
            raise DatabaseAwayError(f"database {self.name}: all connections are in use") from error
        except DBAPIError as error:
            cause = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
            missing = "no such table" in cause or ('relation "' in cause and "does not exist" in cause)
            hint = ": run `unmask db upgrade`" if missing else ""
            kind = DatabaseAwayError if is_away(error) else DatabaseError
            raise kind(f"database {self.name}: {cause}{hint}") from error


def head() -> str:
    """The newest revision that this software knows."""
    revision = ScriptDirectory.from_config(_alembic()).get_current_head()
    if revision is None:
        raise DatabaseError("this software has no migrations: its installation is broken")
    return revision


def _serves(connection: Connection, revision: str) -> bool:
    """Whether the schema says of itself that this revision's software may use it."""
    if not inspect(connection).has_table(SchemaSupport.__tablename__):
        return False
    found = connection.scalar(select(SchemaSupport.revision).where(SchemaSupport.revision == revision))
    return found is not None


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _parsed(url: str) -> URL:
    """A URL whose driver is ours."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the latter shows what it took for a port, which may be of the password
        raise DatabaseError("UNMASK_DATABASE_URL is not a database URL, like sqlite:///unmask.db") from None
    if parsed.drivername not in _DRIVERS:
        raise DatabaseError(f"database {parsed.drivername} is not supported: sqlite or postgresql")
    return parsed.set(drivername=_DRIVERS[parsed.drivername])


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        engine = create_engine(url, connect_args={"connect_timeout": CONNECT_TIMEOUT_S})
        event.listen(engine, "connect", _note_use)
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", partial(_try_idle, engine.dialect))
        return engine
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_USED_AT] = time.monotonic()


def _try_idle(dialect: Dialect, connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    """What `pool_pre_ping` does, but not for a connection that was just used: a worker's hot path has no ping in it."""
    if time.monotonic() - record.info.get(_USED_AT, 0.0) < _FRESH_S:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError("the connection was lost while nobody used it") from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy begins transactions, below, and not the driver
    for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = NORMAL", "recursive_triggers = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when another wrote in between, whatever the
    # timeout; one that says from the start that it will write waits its turn.
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
