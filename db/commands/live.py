"""``unmask model live``: does it still work in production? As people said who saw photos without their scores."""

from typing import Any

import click

from db.cli import open_database
from db.stats.intervals import Estimate
from db.quality.live import LiveLine
from db.quality.live import live as measured
from db.output import emit, emit_json, json_option


@click.command()
@click.option("--policy", help="Only this policy's.")
@click.option("--weeks", type=click.IntRange(1), default=12, show_default=True, help="This week and those before.")
@json_option
def live(*, policy: str | None, weeks: int, as_json: bool) -> None:
    """Precision, false positive and miss rate by week and policy, from blind verdicts, with 95 % intervals."""
    with open_database().reading() as session:
        lines = measured(session, policy, weeks)
    if as_json:
        emit_json([_document(line) for line in lines])
    else:
        emit([_row(line) for line in lines], as_json=False, empty="no photo was drawn yet: unmask review draw")


def _head(line: LiveLine) -> dict[str, Any]:
    return {
        "model": line.model,
        "policy": line.policy,
        "week": line.week.date().isoformat() if line.week is not None else "all",
        "photos": line.photos,
        "flagged": line.flagged,
        "drawn": line.drawn,
        "judged": line.judged,
    }


def _document(line: LiveLine) -> dict[str, Any]:
    rates = {"precision": line.precision, "fpr": line.fpr, "miss_rate": line.miss_rate}
    return _head(line) | {name: _plain(rate) for name, rate in rates.items()}


def _plain(rate: Estimate | None) -> dict[str, float] | None:
    return {"value": rate.value, "low": rate.low, "high": rate.high} if rate is not None else None


def _row(line: LiveLine) -> dict[str, Any]:
    rates = {"precision": line.precision, "fpr": line.fpr, "missed": line.miss_rate}
    return _head(line) | {name: _said(rate) for name, rate in rates.items()}


def _said(rate: Estimate | None) -> str:
    return f"{rate.value:.2%} ({rate.low:.2%} to {rate.high:.2%})" if rate is not None else "not known yet"
