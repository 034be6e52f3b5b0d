"""``unmask key``: keys of the HTTP API. Each is shown once; the database keeps only its SHA-256."""

from typing import Any

import click

from db.access import api_keys
from db.access.api_keys import SCOPES
from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.options import as_lead
from db.commands.output import emit, emit_json, json_option
from db.policy import policies
from db.schema import ApiKey


def _scopes(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
    """Parse scopes that are separated by commas."""
    words = tuple(word.strip() for word in value.split(",") if word.strip())
    if not words or set(words) - set(SCOPES):
        raise click.BadParameter(f"{value!r}: scopes must be among {', '.join(SCOPES)}, separated by commas")
    return words


@click.group(cls=WholeHelpGroup)
def key() -> None:
    """Keys of the HTTP API: who may submit photos, read verdicts and delete photos."""


@key.command("add")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    callback=_scopes,
    required=True,
    help="submit, read, delete: one or more, separated by commas.",
)
@click.option("--policy", help="The only policy whose photos the key may use; every policy when not given.")
@click.option("--rate", type=click.IntRange(1), metavar="N", help="Requests a minute; no limit when not given.")
@json_option
def key_add_command(*, name: str, scopes: tuple[str, ...], policy: str | None, rate: int | None, as_json: bool) -> None:
    """Add a key and print it. It is shown only once: keep it."""
    with open_database().writing() as session:
        who = as_lead(session)
        if policy is not None:
            policies.require_policy(session, policy)
        made = api_keys.add_key(session, name, scopes, who, policy=policy, rate_per_minute=rate)
    if as_json:
        emit_json({"key": made})
    else:
        click.echo(made)


@key.command("list")
@json_option
def key_list_command(*, as_json: bool) -> None:
    """List every key by its name, also the revoked ones; never the key itself."""
    with open_database().reading() as session:
        rows = [_row(row) for row in api_keys.list_keys(session)]
    emit(rows, as_json=as_json, empty="there are no keys: add one with `unmask key add NAME --scope submit,read`")


@key.command("revoke")
@click.argument("name")
@json_option
def key_revoke_command(*, name: str, as_json: bool) -> None:
    """Revoke a key: the HTTP API refuses it from now on."""
    with open_database().writing() as session:
        as_lead(session)
        row = _row(api_keys.revoke_key(session, name))
    emit([row], as_json=as_json, empty="")


def _row(row: ApiKey) -> dict[str, Any]:
    return {
        "name": row.name,
        "scopes": row.scopes,
        "policy": row.policy,
        "rate_per_minute": row.rate_per_minute,
        "by": row.created_by,
        "at": row.created_at,
        "last_used_at": row.last_used_at,
        "revoked_at": row.revoked_at,
    }
