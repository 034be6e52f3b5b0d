"""``unmask db``, and how every command finds its database: none of them needs torch or a broker."""

import click

from db.store.session import Database
from db.settings import DatabaseSettings


def open_database() -> Database:
    """The database of the settings, with this software's schema."""
    database = _connect()
    database.check_schema()
    return database


def _connect() -> Database:
    """The database of the settings, until the command ends."""
    database = Database(DatabaseSettings.load().database_url)
    click.get_current_context().call_on_close(database.close)
    return database


@click.group("db")
def db_group() -> None:
    """Create and upgrade the database's schema."""


@db_group.command()
def upgrade() -> None:
    """Bring the schema to this version of the software; safe to repeat."""
    database = _connect()
    before, after = database.upgrade()
    moved = f"stays at {after}" if before == after else f"{before or 'nothing'} -> {after}"
    click.echo(f"database {database.name}: schema {moved}", err=True)
