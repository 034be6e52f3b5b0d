"""Thresholds, previews and forecasts as JSON documents and as text."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from db.commands.output import emit
from db.policy import certificate_words
from db.policy.case_changes import AccountLine, ChangeEffect
from db.policy.forecast import Forecast
from db.policy.threshold_choice import RateBound, ThresholdChoice, rate_bound
from db.schema import Threshold
from db.stats.intervals import Estimate

#: How many accounts of a preview people see; programs get all.
SHOWN_ACCOUNTS = 20


def threshold_row(threshold: Threshold, model: str) -> dict[str, Any]:
    """A row of the history of thresholds."""
    return (
        {
            "id": threshold.id,
            "policy": threshold.policy,
            "model": model,
            "value": threshold.value,
            "target_fpr": threshold.target_fpr,
            "measured_fpr": threshold.measured_fpr,
            "fpr_low": threshold.fpr_low,
            "fpr_high": threshold.fpr_high,
            "reals": threshold.reals,
            "reference": threshold.reference,
        }
        | bound_row(rate_bound(threshold), threshold.target_fpr)
        | {
            "forced": threshold.forced,
            "restores": threshold.restores,
            "opened": threshold.opened,
            "withdrawn": threshold.withdrawn,
            "author": threshold.author,
            "reason": threshold.reason,
            "set_at": threshold.created_at,
        }
    )


def print_thresholds(rows: Sequence[dict[str, Any]], *, as_json: bool, empty: str) -> None:
    """Print thresholds: in full for programs, with the false positive rate in one column for people."""
    short = ("policy", "model", "value", "fpr", "promise", "opened", "withdrawn", "author", "reason", "set_at")
    lines = [row | {"fpr": fpr_words(row)} for row in rows]
    emit(rows if as_json else [{key: line[key] for key in short} for line in lines], as_json=as_json, empty=empty)


def fpr_words(row: dict[str, Any]) -> str:
    """The measured false positive rate, its interval, and on how many real photos."""
    if row["measured_fpr"] is None:
        return "not measured"
    limits = f"{row['fpr_low']:.3%} to {row['fpr_high']:.3%}"
    return f"{row['measured_fpr']:.3%} ({limits}) of {row['reals']} {row['reference']}"


def choice_row(choice: ThresholdChoice) -> dict[str, Any]:
    """A threshold that may be set."""
    measured = choice.measured
    return {
        "value": choice.value,
        "target_fpr": choice.target_fpr,
        "measured_fpr": measured.fpr.value if measured else None,
        "fpr_low": measured.fpr.low if measured else None,
        "fpr_high": measured.fpr.high if measured else None,
        "reals": measured.reals if measured else None,
        "reference": measured.reference if measured else None,
    } | bound_row(choice.bound, choice.target_fpr)


def bound_row(bound: RateBound, target_fpr: float | None) -> dict[str, Any]:
    """The rule by which a threshold was chosen, and what it promises."""
    return asdict(bound) | {"promise": certificate_words.promise(bound, target_fpr)}


def effect_document(effect: ChangeEffect) -> dict[str, Any]:
    """The effect of a change on cases, for programs."""
    return {
        "opens": [account_row(line) for line in effect.opens],
        "withdraws": [account_row(line) for line in effect.closes],
        "photos_added_to_open_cases": effect.added,
        "open_cases_not_all_scored": effect.unscored,
        "unstable_photos": effect.unstable,
        "cases": effect.cases,
    }


def account_row(line: AccountLine) -> dict[str, Any]:
    """An account whose case would open or be withdrawn."""
    row = {"account": line.account_id, "policy": line.policy, "photos": line.photos, "highest": line.highest}
    return row if line.case_id is None else {"case": line.case_id} | row


def forecast_document(forecast: Forecast) -> dict[str, Any]:
    """A forecast as a JSON document."""
    return {
        "photos_a_day": forecast.photos_a_day,
        "flags_a_day": estimate_document(forecast.flags_a_day),
        "wrong_flags_a_day": estimate_document(forecast.wrong_flags_a_day),
        "most_wrong_flags_a_day": forecast.most_wrong_a_day,
        "unstable_a_day": estimate_document(forecast.unstable_a_day),
        "prevalence": forecast.prevalence,
        "precision": {
            engine: {"bound": bound} | (estimate_document(found) or {})
            for engine, (bound, found) in forecast.precision.items()
        },
    }


def print_effect(effect: ChangeEffect) -> None:
    """Print the effect of a change on cases, for people."""
    for what, lines in (("opens", effect.opens), ("withdraws", effect.closes)):
        click.echo(f"It {what} {len(lines)} cases" + (", the first of them:" if len(lines) > SHOWN_ACCOUNTS else ""))
        if lines:
            emit([account_row(line) for line in lines[:SHOWN_ACCOUNTS]], as_json=False, empty="")
    if effect.added:
        click.echo(f"It adds {effect.added} photos to open cases.")
    if effect.unstable:
        click.echo(f"{effect.unstable} of these photos are unstable: people see them, and they are not flagged.")
    if effect.unscored:
        click.echo(f"It leaves {effect.unscored} open cases: this model has not scored all of their photos.")


def print_forecast(forecast: Forecast) -> None:
    """Print a forecast, for people."""
    click.echo(f"Of {forecast.photos_a_day:.0f} photos a day it flags {estimate_words(forecast.flags_a_day, '.1f')}.")
    if forecast.unstable_a_day is not None:
        click.echo(f"Unstable, for people to see, are {estimate_words(forecast.unstable_a_day, '.1f')}.")
    most = f"; at most {forecast.most_wrong_a_day:.1f} on average" if forecast.most_wrong_a_day is not None else ""
    click.echo(
        f"False flags a day, if {100 * forecast.prevalence:.3g} % of photos are AI-generated: "
        f"{estimate_words(forecast.wrong_flags_a_day, '.1f')}{most}."
    )
    for engine, (bound, found) in forecast.precision.items():
        said = "" if bound == "as" else f"{bound} "
        click.echo(f"Precision, if all AI-generated photos were {engine}: {said}{estimate_words(found, '.1%')}.")


def estimate_words(estimate: Estimate | None, form: str) -> str:
    """A figure and its interval, each in this format; "unknown" where there is none."""
    if estimate is None:
        return "unknown"
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"


def estimate_document(estimate: Estimate | None) -> dict[str, float] | None:
    """A figure and its interval, for programs."""
    return asdict(estimate) if estimate is not None else None
