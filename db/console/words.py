"""How the console says times, ages and scores."""

from datetime import UTC, datetime

from db.stats.intervals import Estimate

_STEPS = ((86_400, "d"), (3600, "h"), (60, "min"))


def age(seconds: float | None) -> str:
    """The two largest units would be noise: "3 d", "5 h", "12 min"."""
    if seconds is None:
        return "none"
    for step, unit in _STEPS:
        if seconds >= step:
            return f"{int(seconds // step)} {unit}"
    return "under 1 min"


def ago(moment: datetime) -> str:
    """Since then, by this machine's clock: for reading only."""
    return age((datetime.now(UTC) - moment).total_seconds())


def when(moment: datetime) -> str:
    """A time that everybody reads the same."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def score(value: float) -> str:
    """Never rounded up to a certainty."""
    return f"{min(value, 0.9999):.4f}" if value < 1 else "1.0000"


def rate(estimate: Estimate | None) -> str:
    """A share and its 95 % interval."""
    if estimate is None:
        return "not known yet"
    return f"{estimate.value:.2%} ({estimate.low:.2%} to {estimate.high:.2%})"


def count(estimate: Estimate | None) -> str:
    """So many, and the 95 % interval of that."""
    return f"{estimate.value:,.1f} ({estimate.low:,.1f} to {estimate.high:,.1f})" if estimate is not None else "unknown"
