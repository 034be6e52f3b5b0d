"""``unmask threshold``: from which score on a policy flags an account, by the false positive rate that it accepts."""

from collections.abc import Callable
from typing import Any

import click

from db.models import versions
from db.policy import changes, policies, thresholds
from db.policy.choices import Asked, choose
from db.cli import open_database
from db.commands.options import budget, confirm_option, policy_option, prevalence_option, reason_option, signed
from db.commands.show import (
    choice_row,
    forecast_document,
    fpr_words,
    preview_document,
    say_forecast,
    say_preview,
    say_thresholds,
    threshold_row,
)
from db.policy.forecast import forecast
from db.output import emit, emit_json, json_option
from db.policy.rules import rule_for

Command = Callable[..., Any]


def choice_options(command: Command) -> Command:
    """By which rate or value a threshold is chosen, and on which photos it is measured."""
    for option in (
        click.option("--force", is_flag=True, help="Also on fewer reals than can show the rate; needs --reason."),
        click.option("--reference", help="The set of real photos; the model's own when not given."),
        click.option("--value", type=click.FloatRange(0, 1), help="Flag from this score on (0 real, 1 AI)."),
        click.option(
            "--fpr", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Flag this share of real photos."
        ),
    ):
        command = option(command)
    return command


@click.group("threshold")
def threshold_group() -> None:
    """From which score on a policy flags an account."""


@threshold_group.command("show")
@json_option
def threshold_show(*, as_json: bool) -> None:
    """The thresholds that stand for the active model, one a policy."""
    with open_database().reading() as session:
        version = versions.active(session)
        rows = [threshold_row(threshold, version.name) for threshold in thresholds.latest(session, version.id)]
    say_thresholds(rows, as_json=as_json, empty="no threshold is set: nothing is flagged (unmask threshold set)")


@threshold_group.command("set")
@choice_options
@policy_option
@reason_option
@confirm_option
@json_option
def threshold_set(
    *,
    fpr: float | None,
    value: float | None,
    reference: str | None,
    force: bool,
    policy: str,
    reason: str,
    confirm: int | None,
    as_json: bool,
) -> None:
    """Set a policy's threshold for the active model; cases open and are withdrawn at once.

    Refused when the reference has fewer than 3 / FPR real photos, and when more cases would change than
    UNMASK_FLOOD_BUDGET allows. Cases that somebody has reviewed are never touched.
    """
    asked = _asked(fpr, value, reference, force=force)
    with open_database().writing() as session:
        version = versions.active(session)
        choice = choose(session, version, asked)
        row = policies.set_threshold(session, version.id, policy, choice, signed(reason), budget(confirm))
        shown = threshold_row(row, version.name)
    say_thresholds([shown], as_json=as_json, empty="")


@threshold_group.command("rollback")
@policy_option
@reason_option
@confirm_option
@json_option
def threshold_rollback(*, policy: str, reason: str, confirm: int | None, as_json: bool) -> None:
    """Set the threshold that stood before this one, as a new row of the history."""
    with open_database().writing() as session:
        version = versions.active(session)
        row = policies.roll_back(session, version.id, policy, signed(reason), budget(confirm))
        shown = threshold_row(row, version.name)
    say_thresholds([shown], as_json=as_json, empty="")


@threshold_group.command("apply")
@reason_option
@confirm_option
@json_option
def threshold_apply(*, reason: str, confirm: int | None, as_json: bool) -> None:
    """Open and withdraw cases as the thresholds say that stand: after a rescore, or after a pause of flagging."""
    with open_database().writing() as session:
        version = versions.active(session)
        done = policies.apply(session, version.id, signed(reason), budget(confirm))
    emit([{"opened": done.opened, "withdrawn": done.withdrawn}], as_json=as_json, empty="")


@threshold_group.command("preview")
@choice_options
@policy_option
@prevalence_option
@json_option
def threshold_preview(
    *,
    fpr: float | None,
    value: float | None,
    reference: str | None,
    force: bool,
    policy: str,
    prevalence: float | None,
    as_json: bool,
) -> None:
    """What a threshold would do, on the scores that are stored: which accounts, and what days to come will bring."""
    asked = _asked(fpr, value, reference, force=force)
    with open_database().reading() as session:
        version = versions.active(session)
        choice = choose(session, version, asked)
        rule = rule_for(session, version.id, policy, choice.value)
        found = changes.preview(session, [rule])
        days = forecast(session, rule, choice.measured, prevalence, version.card)
    if as_json:
        emit_json(choice_row(choice) | preview_document(found) | forecast_document(days))
        return
    click.echo(f"Threshold {choice.value:.4f}: FPR {fpr_words(choice_row(choice))}.")
    say_preview(found)
    say_forecast(days)


@threshold_group.command("history")
@click.option("--policy", default=None, help="Only this policy's.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def threshold_history(*, policy: str | None, limit: int, as_json: bool) -> None:
    """Every threshold that was ever set, the latest first: by whom, why, and how many cases it changed."""
    with open_database().reading() as session:
        names = {version.id: version.name for version in versions.list_versions(session)}
        found = thresholds.history(session, None, policy, limit)
        rows = [threshold_row(row, names[row.version_id]) for row in found]
    say_thresholds(rows, as_json=as_json, empty="no threshold was ever set")


def _asked(fpr: float | None, value: float | None, reference: str | None, *, force: bool) -> Asked:
    if (fpr is None) == (value is None):
        raise click.UsageError("needs --fpr or --value: one of them")
    return Asked(fpr, value, reference, force)
