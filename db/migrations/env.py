"""Runs migrations: on the connection of ``unmask db upgrade``, or on a new one for alembic's own command."""

from alembic import context
from sqlalchemy import Connection

from db.schema import Base
from db.settings import DatabaseSettings
from db.store import own_schema, row_limits
from db.store.session import Database


def _run(connection: Connection, schema: str | None) -> None:
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=True, version_table_schema=schema
    )
    with context.begin_transaction():
        if schema is not None:
            # While this waits for a table's lock, every worker waits behind it.
            connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
            # Of replicas that start together one upgrades, and the others then find it done.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('unmask'))")
            own_schema.prepare(connection, schema)
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given, context.config.attributes["schema"])
else:
    database = Database.of(DatabaseSettings.load())
    with database.engine.begin() as own:
        _run(own, database.schema)
    if database.schema is not None:
        row_limits.complete(database.engine, database.schema)
