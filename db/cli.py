"""Admin commands on the record: ``unmask db|failures``, and how those of `db.commands` find their database."""

from typing import Any

import click

from db import images
from db.output import emit, json_option
from db.schema import Image
from db.session import Database
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


@click.group("failures")
def failures_group() -> None:
    """Images that could not be scored, each with its reason."""


@failures_group.command("list")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def failures_list(*, limit: int, as_json: bool) -> None:
    """Images without a score, the latest first."""
    with open_database().reading() as session:
        rows = [_failure_row(image) for image in images.failures(session, limit)]
    emit(rows, as_json=as_json, empty="every image that was tried has a score")


def _failure_row(image: Image) -> dict[str, Any]:
    return {
        "image": image.id,
        "account": image.account_id,
        "state": image.state,
        "reason": image.reason,
        "detail": image.detail,
        "attempts": image.attempts,
        "at": image.changed_at,
    }
