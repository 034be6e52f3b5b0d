"""``unmask reviewer``: who may sign in to the console."""

import sys
from typing import Any

import click

from db.access import audit, people
from db.cli import open_database
from db.commands.console import new_link
from db.console.settings import ConsoleSettings
from db.output import emit, json_option
from db.access.passwords import SHORTEST
from db.schema import ROLES, Person
from db.settings import actor


@click.group()
def reviewer() -> None:
    """People who may sign in to the console, and in which role."""


@reviewer.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="reviewer", show_default=True)
@click.option("--password", "with_password", is_flag=True, help="Ask for a password, or read it from a pipe.")
@json_option
def add(*, name: str, role: str, with_password: bool, as_json: bool) -> None:
    """Enter somebody; without --password they come in by `unmask reviewer link`, or through a trusted proxy."""
    password = _asked() if with_password else None
    with open_database().writing() as session:
        person = people.add(session, name, role, password)
        audit.note(session, actor(), "person_added", detail=f"{name} as {role}")
        row = _row(person)
    emit([row], as_json=as_json, empty="")


@reviewer.command("list")
@json_option
def list_people(*, as_json: bool) -> None:
    """Everybody, by name."""
    with open_database().reading() as session:
        rows = [_row(person) for person in people.listed(session)]
    emit(rows, as_json=as_json, empty="nobody yet: unmask reviewer add NAME")


@reviewer.command()
@click.argument("name")
def password(*, name: str) -> None:
    """Give somebody a new password, asked for or from a pipe; they are signed out everywhere."""
    new = _asked()
    with open_database().writing() as session:
        people.set_password(session, people.named(session, name), new)
        audit.note(session, actor(), "password_set", detail=name)


@reviewer.command()
@click.argument("name")
@click.option("--off", is_flag=True, help="Let them in again.")
def disable(*, name: str, off: bool) -> None:
    """Keep somebody out, at once; what they decided stays."""
    with open_database().writing() as session:
        people.disable(session, people.named(session, name), disabled=not off)
        audit.note(session, actor(), "person_enabled" if off else "person_disabled", detail=name)


@reviewer.command()
@click.argument("name")
def link(*, name: str) -> None:
    """Print a link that signs somebody in once, within minutes."""
    settings, database = ConsoleSettings.load(), open_database()
    address = settings.console_url.rstrip("/") or "http://127.0.0.1:8000"
    click.echo(new_link(database, name, address, settings.console_link_s))
    with database.writing() as session:
        audit.note(session, actor(), "link_made", detail=name)


def _asked() -> str:
    """From a terminal twice and unseen; from a pipe, its first line."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    entered: str = click.prompt(f"Password, {SHORTEST} characters or more", hide_input=True, confirmation_prompt=True)
    return entered


def _row(person: Person) -> dict[str, Any]:
    return {
        "name": person.name,
        "role": person.role,
        "password": person.password is not None,
        "disabled": person.disabled,
        "since": person.created_at,
    }
