"""How the console writes durations, times, scores and estimates; templates use these as filters."""

from datetime import UTC, datetime

from db.stats.intervals import Estimate

_STEPS = ((86_400, "d"), (3600, "h"), (60, "min"))


def format_duration(seconds: float | None) -> str:
    """A duration in its largest unit only: "3 d", "5 h", "12 min"."""
    if seconds is None:
        return "none"
    for step, unit in _STEPS:
        if seconds >= step:
            return f"{int(seconds // step)} {unit}"
    return "under 1 min"


def format_age(moment: datetime) -> str:
    """The time since a moment, by this machine's clock: for reading only."""
    return format_duration((datetime.now(UTC) - moment).total_seconds())


def format_time(moment: datetime) -> str:
    """A time in UTC, the same for every reader."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def format_seconds(moment: datetime) -> str:
    """A time in UTC with its seconds, for logs."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def format_due(moment: datetime) -> str:
    """The time until a moment, or since it."""
    left_s = (moment - datetime.now(UTC)).total_seconds()
    return f"due in {format_duration(left_s)}" if left_s > 0 else f"late by {format_duration(-left_s)}"


def format_score(value: float) -> str:
    """A score with four digits; only a score of 1 reads 1.0000."""
    return f"{min(value, 0.9999):.4f}" if value < 1 else "1.0000"


def format_rate(estimate: Estimate | None) -> str:
    """A rate with its 95 % interval."""
    if estimate is None:
        return "not known yet"
    value, low, high = (f"{100 * part:.2f} %" for part in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def format_count(estimate: Estimate | None) -> str:
    """An estimated number with its 95 % interval."""
    return f"{estimate.value:,.1f} ({estimate.low:,.1f} to {estimate.high:,.1f})" if estimate is not None else "unknown"


def format_sentence(text: str) -> str:
    """A message as a sentence: errors begin with a small letter and end without a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…")) else ".")


def format_clock(moment: datetime) -> str:
    """The time of day in UTC, to the second."""
    return f"{moment:%H:%M:%S} UTC"
