"""Admin commands on the record: ``unmask db|threshold|cases``. None of them needs torch or a broker."""

from typing import Any

import click

from db import cases, thresholds, versions
from db.output import emit, emit_json, json_option
from db.schema import CASE_STATES, Case, Threshold
from db.session import Database
from db.settings import DatabaseSettings, actor

policy_option = click.option("--policy", default="default", show_default=True, help="Whose threshold it is.")


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


@click.group("threshold")
def threshold_group() -> None:
    """From which score on a policy flags an account."""


@threshold_group.command("show")
@json_option
def threshold_show(*, as_json: bool) -> None:
    """The thresholds that stand for the active model, one a policy."""
    with open_database().reading() as session:
        version = versions.active(session)
        rows = [_threshold_row(threshold, version.name) for threshold in thresholds.latest(session, version.id)]
    emit(rows, as_json=as_json, empty="no threshold is set: nothing is flagged (unmask threshold set --value V)")


@threshold_group.command("set")
@click.option("--value", type=click.FloatRange(0, 1), required=True, help="Flag from this score on (0 real, 1 AI).")
@policy_option
@click.option("--reason", default="", help="Why, for those who read the history.")
@json_option
def threshold_set(*, value: float, policy: str, reason: str, as_json: bool) -> None:
    """Set a policy's threshold for the active model; it holds for images scored from now on."""
    with open_database().writing() as session:
        version = versions.active(session)
        threshold = thresholds.set_value(session, version.id, policy, value, actor(), reason)
        row = _threshold_row(threshold, version.name)
    emit([row], as_json=as_json, empty="")


@click.group("cases")
def cases_group() -> None:
    """Flagged accounts, for people to decide."""


@cases_group.command("list")
@click.option("--state", type=click.Choice([*CASE_STATES, "all"]), default="open", show_default=True)
@click.option("--policy", default=None, help="Only this policy's.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def cases_list(*, state: str, policy: str | None, limit: int, as_json: bool) -> None:
    """Cases, the oldest first."""
    with open_database().reading() as session:
        found = cases.list_cases(session, None if state == "all" else state, policy, limit)
        rows = [_case_row(line.case) | {"photos": line.photos, "highest": line.highest} for line in found]
    emit(rows, as_json=as_json, empty="no such cases")


@cases_group.command("show")
@click.argument("case_id", type=int)
@json_option
def cases_show(*, case_id: int, as_json: bool) -> None:
    """One case: its account, and each flagged photo with its score and threshold."""
    with open_database().reading() as session:
        case, flags = cases.show_case(session, case_id)
        row = _case_row(case)
        photos = [
            {
                "image": flag.image.id,
                "url": flag.image.url,
                "score": flag.score.score,
                "threshold": flag.threshold.value,
                "scored_at": flag.score.created_at,
            }
            for flag in flags
        ]
    if as_json:
        emit_json(row | {"photos": photos})
    else:
        emit([row], as_json=False, empty="")
        emit(photos, as_json=False, empty="no photos")


def _threshold_row(threshold: Threshold, model: str) -> dict[str, Any]:
    return {
        "policy": threshold.policy,
        "model": model,
        "value": threshold.value,
        "author": threshold.author,
        "reason": threshold.reason,
        "set_at": threshold.created_at,
    }


def _case_row(case: Case) -> dict[str, Any]:
    return {
        "case": case.id,
        "account": case.account_id,
        "policy": case.policy,
        "state": case.state,
        "opened_at": case.created_at,
    }
