"""``unmask threshold``: from which score on a policy flags photos, by the false positive rate that it accepts."""

import sys
from collections.abc import Callable
from typing import Any

import click
from sqlalchemy.orm import Session

from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.options import (
    as_lead,
    author,
    budget,
    budget_with_rate,
    confirm_option,
    max_fpr_option,
    policy_option,
    prevalence_option,
    reason_option,
)
from db.commands.output import emit, emit_json, json_option
from db.commands.show import (
    choice_row,
    effect_document,
    forecast_document,
    fpr_words,
    print_effect,
    print_forecast,
    print_thresholds,
    threshold_row,
)
from db.errors import ConflictError
from db.models import versions
from db.policy import certificate_words, signal_changes, thresholds
from db.policy.case_changes import Budget, apply_thresholds, preview_changes, roll_back_threshold, set_threshold
from db.policy.coverage import rule_for
from db.policy.forecast import forecast_flags
from db.policy.threshold_choice import ThresholdChoice, ThresholdRequest, choose_threshold
from db.quality.certificates import CertificateState, certificate_states, expire_certificates
from db.stats.intervals import CONFIDENCE

Command = Callable[..., Any]


def choice_options(command: Command) -> Command:
    """Options that choose a threshold, and the real photos on which it is measured."""
    for option in (
        click.option("--force", is_flag=True, help="Accept fewer real photos than can show the rate; needs --reason."),
        click.option("--worst-cohort", is_flag=True, help="Certify the FPR of each cohort of the reference set."),
        click.option("--empirical", is_flag=True, help="Flag this plain share of the reals; nothing is certified."),
        click.option(
            "--confidence",
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            default=CONFIDENCE,
            show_default=True,
            help="The confidence that the true FPR is at most --fpr.",
        ),
        click.option("--reference", help="The reference set of real photos; by default that of the model's card."),
        click.option("--value", type=click.FloatRange(0, 1), help="Flag from this score on (0 real, 1 AI)."),
        click.option(
            "--fpr",
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            help="Flag at most this share of real photos, certified.",
        ),
    ):
        command = option(command)
    return command


@click.group("threshold", cls=WholeHelpGroup)
def threshold_group() -> None:
    """The score from which a policy flags photos."""


@threshold_group.command("show")
@json_option
def threshold_show(*, as_json: bool) -> None:
    """Show the active model's thresholds in effect, one a policy."""
    with open_database().reading() as session:
        version = versions.active(session)
        rows = [threshold_row(row, version.name) for row in thresholds.in_effect(session, version.id)]
    print_thresholds(rows, as_json=as_json, empty="no threshold is set: nothing is flagged (unmask threshold set)")


@threshold_group.command("set")
@choice_options
@policy_option
@reason_option
@confirm_option
@max_fpr_option
@json_option
def threshold_set(
    *,
    policy: str,
    reason: str,
    confirm: int | None,
    max_fpr: float | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Set a policy's threshold for the active model, and change cases.

    A threshold by --fpr is certified: with --confidence, the true FPR on the reference's population is at most that. It
    opens and withdraws cases at once. It is refused when the reference set has too few real photos, when its FPR is
    over the policy's maximum or UNMASK_MAX_FPR, and when more cases would change than UNMASK_FLOOD_BUDGET allows.
    Reviewed cases never change.
    """
    asked = _asked(**how)
    by = author(reason)
    limits = budget_with_rate(confirm, max_fpr, by)
    with open_database().writing() as session:
        as_lead(session)
        version = versions.active(session)
        choice = choose_threshold(session, version, asked)
        row = set_threshold(session, version.id, policy, choice, by, limits)
        shown = threshold_row(row, version.name)
        said = certificate_words.sentences(session, version, asked, choice)
    if choice.measured is None:
        click.echo(f"Warning: model {shown['model']} has no reference set: this threshold's FPR is unknown", err=True)
    for sentence in said:
        click.echo(sentence, err=True)
    print_thresholds([shown], as_json=as_json, empty="")


@threshold_group.command("rollback")
@policy_option
@reason_option
@confirm_option
@max_fpr_option
@json_option
def threshold_rollback(*, policy: str, reason: str, confirm: int | None, max_fpr: float | None, as_json: bool) -> None:
    """Go one step back through the history of thresholds, by a new row; again: one more step, never forward."""
    by = author(reason)
    limits = budget_with_rate(confirm, max_fpr, by)
    with open_database().writing() as session:
        as_lead(session)
        version = versions.active(session)
        row = roll_back_threshold(session, version.id, policy, by, limits)
        shown = threshold_row(row, version.name)
    print_thresholds([shown], as_json=as_json, empty="")


@threshold_group.command("apply")
@reason_option
@confirm_option
@json_option
def threshold_apply(*, reason: str, confirm: int | None, as_json: bool) -> None:
    """Apply the thresholds in effect, and policies' actions on signals, after a rescore or a pause of flagging."""
    with open_database().writing() as session:
        as_lead(session)
        version = versions.active(session)
        done = apply_thresholds(session, version.id, author(reason), budget(confirm))
        opened = done.opened + signal_changes.apply_actions(session, version.id, budget(confirm))
    emit([{"opened": opened, "withdrawn": done.withdrawn}], as_json=as_json, empty="")


@threshold_group.command("preview")
@choice_options
@policy_option
@prevalence_option
@json_option
def threshold_preview(
    *,
    policy: str,
    prevalence: float,
    as_json: bool,
    **how: Any,
) -> None:
    """Show what a threshold would do: which accounts it flags, and how many flags a day."""
    asked = _asked(**how)
    with open_database().reading() as session:
        version = versions.active(session)
        choice = choose_threshold(session, version, asked)
        rule = rule_for(session, version.id, policy, choice.value)
        found = preview_changes(session, [rule])
        days = forecast_flags(session, rule, choice, version.card, prevalence)
        refused = _refusal(session, policy, choice)
        said = certificate_words.sentences(session, version, asked, choice)
    if as_json:
        emit_json(choice_row(choice) | {"refused": refused} | effect_document(found) | forecast_document(days))
        return
    click.echo(f"Threshold {choice.value:.4f}: FPR {fpr_words(choice_row(choice))}.")
    for sentence in said:
        click.echo(sentence)
    print_effect(found)
    print_forecast(days)
    if refused:
        click.echo(f"Setting it is refused: {refused}.")


@threshold_group.command("check")
@json_option
def threshold_check(*, as_json: bool) -> None:
    """Test the certificates of thresholds by blind verdicts and drift; exits with 1 when one has expired.

    Workers do so every quarter of an hour. A certificate that has expired stays so: set the threshold again, on a
    reference set of today's photos.
    """
    database = open_database()
    with database.writing() as session:
        as_lead(session)
    expire_certificates(database)
    with database.reading() as session:
        rows = [_state_row(state) for state in certificate_states(session)]
    emit(rows, as_json=as_json, empty="no threshold in effect is certified (unmask threshold set --fpr F)")
    sys.exit(1 if any(row["expired"] for row in rows) else 0)


@threshold_group.command("history")
@click.option("--policy", default=None, help="Only this policy.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def threshold_history(*, policy: str | None, limit: int, as_json: bool) -> None:
    """List every threshold that was set, by whom and why, the latest first."""
    with open_database().reading() as session:
        names = {version.id: version.name for version in versions.list_versions(session)}
        found = thresholds.list_thresholds(session, None, policy, limit)
        rows = [threshold_row(row, names[row.version_id]) for row in found]
    print_thresholds(rows, as_json=as_json, empty="no threshold has been set")


def _state_row(state: CertificateState) -> dict[str, Any]:
    return {
        "policy": state.policy,
        "threshold": state.threshold.id,
        "target_fpr": state.threshold.target_fpr,
        "confidence": state.threshold.confidence,
        "judged": state.judged,
        "flagged_judged": state.flagged_judged,
        "flagged_reals": state.flagged_reals,
        "e_value": state.e_value,
        "limit": state.limit,
        "expired": bool(state.expired),
        "state": state.words,
    }


def _refusal(session: Session, policy: str, choice: ThresholdChoice) -> str | None:
    """Why the maximum rate refuses this threshold; None when it does not."""
    try:
        Budget.configured().check_rate(session, policy, choice)
    except ConflictError as error:
        return str(error)
    return None


def _asked(*, fpr: float | None, value: float | None, **how: Any) -> ThresholdRequest:
    """The options that `choice_options` adds, as a request."""
    if (fpr is None) == (value is None):
        raise click.UsageError("give either --fpr or --value")
    return ThresholdRequest(fpr, value, **how)
