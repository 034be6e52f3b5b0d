"""What a benchmark found: a figure with its unit, and for paired rounds a ratio with its interval."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import stats  # type: ignore[import-untyped]  # SciPy carries no types


@dataclass(frozen=True, slots=True)
class Measured:
    """``low`` and ``high`` are the ends of a 95 % interval; ``limit`` is what was promised, where something was."""

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    limit: str = ""


def paired(name: str, ours: Callable[[], float], bare: Callable[[], float], rounds: int, limit: str = "") -> Measured:
    """How many times the bare work's cost ours is, over rounds in which both are measured, in turns.

    A machine's mood changes from minute to minute, and both sides of a pair share it. The interval is Student's, of
    the mean logarithm.
    """
    ours(), bare()  # what is done once a process is nobody's cost
    logs = []
    for number in range(rounds):
        first, second = (ours, bare) if number % 2 else (bare, ours)
        one, two = first(), second()
        logs.append(math.log(one / two) if number % 2 else math.log(two / one))
    mean, spread = float(np.mean(logs)), float(np.std(logs, ddof=1)) / math.sqrt(rounds)
    half = float(stats.t.ppf(0.975, rounds - 1)) * spread
    return Measured(name, math.exp(mean), "times", math.exp(mean - half), math.exp(mean + half), limit)


def table(found: Sequence[Measured]) -> str:
    """A Markdown table."""
    lines = ["| what | found | 95 % interval | promised |", "|---|---|---|---|"]
    for one in found:
        interval = "" if one.low is None or one.high is None else f"{one.low:.3g} to {one.high:.3g}"
        lines.append(f"| {one.name} | {one.value:.3g} {one.unit} | {interval} | {one.limit} |")
    return "\n".join(lines)


def write(found: Sequence[Measured], path: Path) -> None:
    """The same as JSON."""
    path.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
