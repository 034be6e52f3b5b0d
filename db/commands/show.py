"""How what stands in the record is shown: flat rows of plain values."""

from collections.abc import Sequence
from typing import Any

import click

from db.policy.changes import AccountLine, Preview
from db.policy.forecast import Forecast
from db.stats.intervals import Estimate
from db.output import emit
from db.schema import Threshold
from db.policy.thresholds import Choice

#: A person reads so many accounts of a preview; programs get all.
SHOWN_ACCOUNTS = 20


def threshold_row(threshold: Threshold, model: str) -> dict[str, Any]:
    """A threshold of the history."""
    return {
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
        "forced": threshold.forced,
        "opened": threshold.opened,
        "withdrawn": threshold.withdrawn,
        "author": threshold.author,
        "reason": threshold.reason,
        "set_at": threshold.created_at,
    }


def say_thresholds(rows: Sequence[dict[str, Any]], *, as_json: bool, empty: str) -> None:
    """Thresholds: all there is for programs, the false positive rate in one column for people."""
    short = ("policy", "model", "value", "fpr", "opened", "withdrawn", "author", "reason", "set_at")
    lines = [row | {"fpr": fpr_words(row)} for row in rows]
    emit(rows if as_json else [{key: line[key] for key in short} for line in lines], as_json=as_json, empty=empty)


def fpr_words(row: dict[str, Any]) -> str:
    """What was measured, on how many reals."""
    if row["measured_fpr"] is None:
        return "not measured"
    limits = f"{row['fpr_low']:.3%} to {row['fpr_high']:.3%}"
    return f"{row['measured_fpr']:.3%} ({limits}) of {row['reals']} {row['reference']}"


def choice_row(choice: Choice) -> dict[str, Any]:
    """A threshold that might be set."""
    measured = choice.measured
    return {
        "value": choice.value,
        "target_fpr": choice.target_fpr,
        "measured_fpr": measured.fpr.value if measured else None,
        "fpr_low": measured.fpr.low if measured else None,
        "fpr_high": measured.fpr.high if measured else None,
        "reals": measured.reals if measured else None,
        "reference": measured.reference if measured else None,
    }


def preview_document(preview: Preview) -> dict[str, Any]:
    """Which accounts, for programs."""
    return {
        "opens": [account_row(line) for line in preview.opens],
        "withdraws": [account_row(line) for line in preview.closes],
        "photos_added_to_open_cases": preview.added,
        "open_cases_not_all_scored": preview.unscored,
        "cases": preview.cases,
    }


def account_row(line: AccountLine) -> dict[str, Any]:
    """An account whose case would open, or be withdrawn."""
    row = {"account": line.account_id, "policy": line.policy, "photos": line.photos, "highest": line.highest}
    return row if line.case_id is None else {"case": line.case_id} | row


def forecast_document(forecast: Forecast) -> dict[str, Any]:
    """Days to come, for programs."""
    return {
        "photos_a_day": forecast.photos_a_day,
        "flags_a_day": _estimate(forecast.flags_a_day),
        "wrong_flags_a_day": _estimate(forecast.wrong_flags_a_day),
        "precision": {
            engine: {"bound": bound} | (_estimate(found) or {}) for engine, (bound, found) in forecast.precision.items()
        },
    }


def say_preview(preview: Preview) -> None:
    """Which accounts, for people."""
    for what, lines in (("opens", preview.opens), ("withdraws", preview.closes)):
        click.echo(f"It {what} {len(lines)} cases" + (", the first of them:" if len(lines) > SHOWN_ACCOUNTS else ""))
        if lines:
            emit([account_row(line) for line in lines[:SHOWN_ACCOUNTS]], as_json=False, empty="")
    if preview.added:
        click.echo(f"It adds {preview.added} photos to cases that are open.")
    if preview.unscored:
        click.echo(f"It leaves {preview.unscored} open cases, whose photos this model has not all scored.")


def say_forecast(forecast: Forecast) -> None:
    """Days to come, for people."""
    click.echo(f"Of {forecast.photos_a_day:.0f} photos a day it flags {_words(forecast.flags_a_day, '.1f')};")
    click.echo(f"wrong flags a day, if nearly all photos are real: {_words(forecast.wrong_flags_a_day, '.1f')}.")
    for engine, (bound, found) in forecast.precision.items():
        said = "" if bound == "as" else f"{bound} "
        click.echo(f"Right flags, if all AI-generated photos were {engine}: {said}{_words(found, '.1%')}.")


def _words(estimate: Estimate | None, form: str) -> str:
    if estimate is None:
        return "unknown"
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"


def _estimate(estimate: Estimate | None) -> dict[str, float] | None:
    if estimate is None:
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
