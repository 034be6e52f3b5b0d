"""Runs migrations: on the connection that ``unmask db upgrade`` hands over, or, for alembic's own command, on ours."""

from alembic import context
from sqlalchemy import Connection

from db.schema import Base
from db.store.session import Database
from db.settings import DatabaseSettings


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            # Waiting for a table's lock would make every worker wait behind us.
            connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
            # Replicas that start together all want to upgrade: one does, the others find it done.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('unmask'))")
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with Database(DatabaseSettings.load().database_url).engine.begin() as own:
        _run(own)
