"""Connections and transactions, on PostgreSQL and SQLite alike."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, delete, event, inspect, select
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from db.errors import DatabaseError, DatabaseUnavailableError
from db.redaction import KNOWN, redacted
from db.schema import RetentionPass, SchemaSupport
from db.server_urls import parse_database_url
from db.settings import DatabaseSettings
from db.store import own_schema, row_limits, sqlite_rows, times

#: How long a writer waits for another to finish on SQLite, and for a connection to PostgreSQL.
BUSY_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 5
#: A connection used within this time is taken without a ping: each ping costs 0.2 ms of CPU time.
_FRESH_S = 1.0
_USED_AT = "unmask_used_at"
#: PostgreSQL's code for a transaction that may only read, as on a standby (Appendix A of its manual); psycopg files it
#: under internal errors.
_READ_ONLY = "25006"
#: SQLite's result codes keep the kind in their low byte (https://sqlite.org/rescode.html).
_SQLITE_KIND = 0xFF
#: Options of a URL that messages show: others may hold a password.
_SHOWN = ("host", "port", "user", "sslmode", "application_name", "connect_timeout")


class Database:
    """One database: short transactions that commit whole or not at all, and one-line errors that name it.

    Everything here raises `DatabaseUnavailableError` when the same call may succeed later, else `DatabaseError`.
    """

    #: Whether a transaction of this process has committed: what comes after it must not look like a failure.
    committed: ClassVar[bool] = False

    def __init__(self, url: str, schema: str = "unmask", pooler: Literal["none", "transaction"] = "none") -> None:
        KNOWN.add(url)
        self.url = _parsed(url)
        self.name = _name(self.url)
        #: Where our tables are; None on SQLite, whose databases have no schemas.
        self.schema = schema if self.url.get_backend_name() == "postgresql" else None
        #: Whether a connection is ours from one transaction to the next.
        self.keeps_connections = pooler == "none"
        self.engine = _engine(self.url, self.schema, self.keeps_connections)

    @classmethod
    def of(cls, settings: DatabaseSettings) -> Self:
        """The database that the settings name."""
        return cls(settings.database_url, settings.db_schema, settings.db_pooler)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that commits at the end of the block."""
        with self._translated(), Session(self.engine) as session, session.begin():
            yield session
        Database.committed = True

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that takes no write lock and never commits."""
        with self._translated(), Session(self.engine.execution_options(read_only=True)) as session:
            yield session

    def upgrade(self) -> tuple[str | None, str]:
        """Upgrade the schema to this software's; returns the revisions before and after."""
        with self._translated(), self.engine.begin() as connection:
            before = _revision(connection, self._home(connection))
            config = _alembic()
            config.attributes |= {"connection": connection, "schema": self.schema}
            command.upgrade(config, "head")
        if self.schema is not None:
            with self._translated():
                row_limits.complete(self.engine, self.schema)
        return before, head()

    def check_schema(self) -> None:
        """Raises `DatabaseError` unless the schema is this software's, or a later one that still supports it."""
        if self._is_missing():
            raise DatabaseError(f"database {self.name} does not exist: run `unmask db upgrade`")
        with self._translated(), self.engine.execution_options(read_only=True).connect() as connection:
            home = self._home(connection)
            found = _revision(connection, home)
            served = home == self.schema and (found == head() or _supports(connection, self.schema, head()))
        if not served:
            raise DatabaseError(
                f"database {self.name} has schema {found or 'none'}, not {head()}: run `unmask db upgrade`"
            )

    def _is_missing(self) -> bool:
        """Whether the file of a SQLite database does not exist: connecting would create it, empty."""
        path = self.url.database or ":memory:"
        is_file = self.url.get_backend_name() == "sqlite" and not path.startswith((":memory:", "file:"))
        return is_file and not Path(path).exists()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _home(self, connection: Connection) -> str | None:
        """Where our tables are, or still are."""
        if self.schema is None:
            return None
        return own_schema.old_home(connection, self.schema) or self.schema

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeoutError as error:
            raise DatabaseUnavailableError(f"database {self.name}: all connections are in use") from error
        except DBAPIError as error:
            cause = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
            missing = "no such table" in cause or ('relation "' in cause and "does not exist" in cause)
            hint = ": run `unmask db upgrade`" if missing else ""
            kind = DatabaseUnavailableError if is_transient(error) else DatabaseError
            raise kind(f"database {self.name}: {redacted(cause)}{hint}") from error


@contextmanager
def erasing(session: Session) -> Iterator[None]:
    """Within this block and transaction, rows of append-only tables may be deleted and notes erased.

    The one way past the append-only triggers; no other transaction sees the pass.
    """
    session.add(RetentionPass(name="retention"))
    session.flush()
    yield
    session.execute(delete(RetentionPass))


def is_transient(error: DBAPIError) -> bool:
    """Whether the same statement may succeed later, unchanged.

    Drivers call such errors operational: no connection, shutting down, too many clients, disk full, locked, deadlock.
    SQLite's driver also calls every mistake in a statement operational, with the generic result code.
    """
    cause: Any = error.orig
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return isinstance(error, OperationalError) and code & _SQLITE_KIND != sqlite3.SQLITE_ERROR
    return isinstance(error, OperationalError | InterfaceError) or getattr(cause, "sqlstate", None) == _READ_ONLY


def head() -> str:
    """The newest revision that this software knows; raises `DatabaseError` when its migrations are missing."""
    revision = ScriptDirectory.from_config(_alembic()).get_current_head()
    if revision is None:
        raise DatabaseError("this software has no migrations: its installation is broken")
    return revision


def _supports(connection: Connection, schema: str | None, revision: str) -> bool:
    """Whether the schema records that this revision's software may use it."""
    if not inspect(connection).has_table(SchemaSupport.__tablename__, schema):
        return False
    found = connection.scalar(select(SchemaSupport.revision).where(SchemaSupport.revision == revision))
    return found is not None


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
    return config


def _revision(connection: Connection, schema: str | None) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table_schema": schema}).get_current_revision()


def _name(url: URL) -> str:
    """The database as messages name it: without its password, and of its options only those that hold no secret.

    A user name without a password may be one.
    """
    hidden = [option for option in url.query if option not in _SHOWN]
    url = url if url.password else url._replace(username=None, password=None)
    return url.difference_update_query(hidden).render_as_string(hide_password=True)


def _parsed(url: str) -> URL:
    try:
        return parse_database_url(url)
    except ValueError as error:
        raise DatabaseError(f"UNMASK_DATABASE_URL: {error}") from None


def _engine(url: URL, schema: str | None, keeps_connections: bool) -> Engine:
    if schema is not None:
        prepared = {} if keeps_connections else {"prepare_threshold": None}
        engine = create_engine(url, connect_args={"connect_timeout": CONNECT_TIMEOUT_S, **prepared})
        event.listen(engine, "connect", _note_use)
        event.listen(engine, "connect", _prepare_postgresql)
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", partial(_try_idle, engine.dialect))
        return engine.execution_options(schema_translate_map={None: schema})
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_USED_AT] = time.monotonic()


def _try_idle(dialect: Dialect, connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    """`pool_pre_ping`, except for a connection that was just used: so a worker's hot path has no ping in it."""
    if time.monotonic() - record.info.get(_USED_AT, 0.0) < _FRESH_S:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError("the connection was lost while it was idle") from error


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    times.prepare(connection)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy begins transactions (below), not the driver
    sqlite_rows.prepare(connection)
    for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = NORMAL", "recursive_triggers = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when another wrote in between, whatever the
    # timeout; one that declares at the start that it will write waits its turn.
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
