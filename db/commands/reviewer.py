"""``unmask reviewer``: the people who may sign in to the console, and their roles."""

import sys
from typing import Any

import click

from db.access import actors, audit, identities, people
from db.access.identities import KnownIdentity
from db.access.passwords import SHORTEST
from db.commands.console import create_sign_in_url
from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.output import emit, json_option
from db.console.oidc.settings import OidcSettings
from db.console.settings import ConsoleSettings
from db.schema import ROLES, Person
from db.settings import actor

_FIRST = (
    "From now on only people who were added may give commands that change something: set UNMASK_ACTOR to a name that "
    "`unmask reviewer list` shows. Thresholds, models and people need a lead; add one with --role lead."
)


@click.group("reviewer", cls=WholeHelpGroup)
def reviewer_group() -> None:
    """People who may sign in to the console, and their roles."""


@reviewer_group.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="reviewer", show_default=True)
@click.option("--password", "with_password", is_flag=True, help="Ask for a password, or read it from a pipe.")
@json_option
def reviewer_add(*, name: str, role: str, with_password: bool, as_json: bool) -> None:
    """Add a person. Without --password they sign in by `unmask reviewer link` or a trusted proxy.

    Until the first person is added, anybody may run every command. From then on UNMASK_ACTOR must be one of the people
    added: a reviewer or lead to decide cases, a lead to change thresholds, models and people.
    """
    password = _ask_password() if with_password else None
    with open_database().writing() as session:
        manager = actors.require_manager(session, actor())
        first = not people.list_people(session)
        person = people.add_person(session, name, role, password)
        audit.log(session, manager, "person_added", detail=f"{name} as {role}")
        row = _row(person)
    emit([row], as_json=as_json, empty="")
    if first:
        click.echo(_FIRST, err=True)


@reviewer_group.command("list")
@json_option
def reviewer_list(*, as_json: bool) -> None:
    """List all people, by name."""
    with open_database().reading() as session:
        rows = [_row(person) for person in people.list_people(session)]
    emit(rows, as_json=as_json, empty="nobody: add people with unmask reviewer add NAME")


@reviewer_group.command("password")
@click.argument("name")
def reviewer_password(*, name: str) -> None:
    """Set a person's password, asked for or read from a pipe. It signs them out everywhere."""
    new = _ask_password()
    with open_database().writing() as session:
        manager = actors.require_manager(session, actor())
        people.set_password(session, people.get_by_name(session, name), new)
        audit.log(session, manager, "password_set", detail=name)


@reviewer_group.command("disable")
@click.argument("name")
@click.option("--off", is_flag=True, help="Let the person sign in again.")
def reviewer_disable(*, name: str, off: bool) -> None:
    """Sign a person out and keep them out; their decisions stay."""
    with open_database().writing() as session:
        manager = actors.require_manager(session, actor())
        people.set_disabled(session, people.get_by_name(session, name), disabled=not off)
        audit.log(session, manager, "person_enabled" if off else "person_disabled", detail=name)


@reviewer_group.command("link")
@click.argument("name")
def reviewer_link(*, name: str) -> None:
    """Print a link that signs a person in once. It works for UNMASK_CONSOLE_LINK_S seconds."""
    settings, database = ConsoleSettings.load(), open_database()
    address = settings.console_url.rstrip("/") or "http://127.0.0.1:8000"
    with database.writing() as session:
        actors.require_manager(session, actor())
    click.echo(create_sign_in_url(database, name, address, settings.console_link_s))


@reviewer_group.command("identity")
@click.argument("name")
@click.argument("subject")
@click.option("--issuer", help="The OpenID provider; the default is UNMASK_OIDC_ISSUER.")
def reviewer_identity(*, name: str, subject: str, issuer: str | None) -> None:
    """Let SUBJECT of the OpenID provider sign in as NAME. The groups there decide about the role from then on."""
    of = issuer or OidcSettings.load().oidc_issuer
    if not of:
        raise click.UsageError("give --issuer, or set UNMASK_OIDC_ISSUER")
    with open_database().writing() as session:
        manager = actors.require_manager(session, actor())
        identities.link_identity(session, KnownIdentity(of, subject), people.get_by_name(session, name))
        audit.log(session, manager, "identity_linked", detail=f"{name} as {subject} of {of}")


def _ask_password() -> str:
    """A password: typed twice, hidden, at a terminal; the first line of a pipe."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    entered: str = click.prompt(f"Password, at least {SHORTEST} characters", hide_input=True, confirmation_prompt=True)
    return entered


def _row(person: Person) -> dict[str, Any]:
    return {
        "name": person.name,
        "role": person.role,
        "password": person.password is not None,
        "disabled": person.disabled,
        "since": person.created_at,
    }
