"""``unmask db``, and how every command opens its database, without torch or a broker."""

import click

from db.commands.group import WholeHelpGroup
from db.settings import DatabaseSettings
from db.store.session import Database


def open_database() -> Database:
    """The database of the settings; raises `DatabaseError` when its schema is not this software's."""
    database = _connect()
    database.check_schema()
    return database


def _connect() -> Database:
    """The database of the settings, closed when the command ends."""
    database = Database.of(DatabaseSettings.load())
    click.get_current_context().call_on_close(database.close)
    return database


@click.group("db", cls=WholeHelpGroup)
def db_group() -> None:
    """Create and upgrade the database's schema."""


@db_group.command("upgrade")
def db_upgrade() -> None:
    """Upgrade the schema to this version of the software; safe to repeat."""
    database = _connect()
    before, after = database.upgrade()
    moved = f"stays at {after}" if before == after else f"{before or 'nothing'} -> {after}"
    click.echo(f"database {database.name}: schema {moved}", err=True)
