"""``unmask model live``: precision and error rates in production, from reviewers' blind verdicts."""

from typing import Any

import click

from db.commands.database import open_database
from db.commands.output import emit, emit_json, json_option
from db.commands.show import estimate_document, estimate_words
from db.quality.live_precision import LiveRates
from db.quality.live_precision import live_rates as measured


@click.command("live")
@click.option("--policy", help="Only this policy.")
@click.option(
    "--weeks", type=click.IntRange(1, 5_200), default=12, show_default=True, help="How many weeks, up to this one."
)
@json_option
def model_live(*, policy: str | None, weeks: int, as_json: bool) -> None:
    """Precision, FPR and miss rate by week and policy (95 %), from blind verdicts."""
    with open_database().reading() as session:
        lines = measured(session, policy, weeks)
    if as_json:
        emit_json([_document(line) for line in lines])
    else:
        emit([_row(line) for line in lines], as_json=False, empty="no photo was sampled yet: unmask review draw")


def _head(line: LiveRates) -> dict[str, Any]:
    return {
        "model": line.model,
        "policy": line.policy,
        "week": line.week.date().isoformat() if line.week is not None else "all",
        "photos": line.photos,
        "flagged": line.flagged,
        "drawn": line.drawn,
        "judged": line.judged,
    }


def _document(line: LiveRates) -> dict[str, Any]:
    rates = {"precision": line.precision, "fpr": line.fpr, "miss_rate": line.miss_rate}
    return _head(line) | {name: estimate_document(rate) for name, rate in rates.items()}


def _row(line: LiveRates) -> dict[str, Any]:
    rates = {"precision": line.precision, "fpr": line.fpr, "missed": line.miss_rate}
    return _head(line) | {name: estimate_words(rate, ".2%") for name, rate in rates.items()}
