"""The result of a benchmark: a figure with its unit, and for paired rounds a ratio with its interval."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy import stats  # type: ignore[import-untyped]  # SciPy carries no types

Ours = TypeVar("Ours")
Bare = TypeVar("Bare")


@dataclass(frozen=True, slots=True)
class Measured:
    """``low`` and ``high`` are the ends of a 95 % interval; ``limit`` is what was promised, where something was.

    ``key`` is the name under which programs find the value in the JSON file.
    """

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    limit: str = ""
    key: str = ""


def paired(name: str, ours: Callable[[], float], bare: Callable[[], float], rounds: int, limit: str = "") -> Measured:
    """How many times the bare work's cost ours is, over rounds in which both are measured, in turns."""
    return ratio(name, in_turns(ours, bare, rounds), limit)


def in_turns(ours: Callable[[], Ours], bare: Callable[[], Bare], rounds: int) -> list[tuple[Ours, Bare]]:
    """What both find, in rounds of one each, after one that does not count.

    A machine's mood changes from minute to minute, and both sides of a pair share it.
    """
    ours(), bare()  # what is done once a process is nobody's cost
    found = []
    for number in range(rounds):
        if number % 2:
            one = ours()
            found.append((one, bare()))
        else:
            two = bare()
            found.append((ours(), two))
    return found


def ratio(name: str, pairs: Sequence[tuple[float, float]], limit: str = "", key: str = "") -> Measured:
    """The first of each pair in multiples of the second; the interval is Student's, of the mean logarithm."""
    middle, half = _mean([math.log(one / two) for one, two in pairs])
    return Measured(name, math.exp(middle), "times", math.exp(middle - half), math.exp(middle + half), limit, key)


def difference(name: str, unit: str, pairs: Sequence[tuple[float, float]], limit: str = "", key: str = "") -> Measured:
    """By how much the first of each pair is more than the second; the interval is Student's."""
    middle, half = _mean([one - two for one, two in pairs])
    return Measured(name, middle, unit, middle - half, middle + half, limit, key)


def average(name: str, unit: str, values: Sequence[float], limit: str = "", key: str = "") -> Measured:
    """The mean of several rounds; the interval is Student's."""
    middle, half = _mean(values)
    return Measured(name, middle, unit, middle - half, middle + half, limit, key)


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half the width of its 95 % interval."""
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1)) * spread


def table(found: Sequence[Measured]) -> str:
    """A Markdown table."""
    lines = ["| what | found | 95 % interval | promised |", "|---|---|---|---|"]
    for one in found:
        interval = "" if one.low is None or one.high is None else f"{one.low:.3g} to {one.high:.3g}"
        lines.append(f"| {one.name} | {one.value:.3g} {one.unit} | {interval} | {one.limit} |")
    return "\n".join(lines)


def write(found: Sequence[Measured], path: Path) -> None:
    """The same as JSON: all of them as a list, and those that have a key under it."""
    by_key = {one.key: one.value for one in found if one.key}
    path.write_text(json.dumps(by_key | {"measured": [asdict(one) for one in found]}, indent=1) + "\n")
