"""A score beside its threshold, on a scale of how rare it is among real photos.

Scores crowd at both ends, and say little by themselves; that 1 in 1,000 real photos scores as high is something to go
by. So the scale is logarithmic in N of "1 in N", and in the score itself only where no real photos are known.
"""

import math
from dataclasses import dataclass

from db.models import rarity
from db.schema import ModelVersion


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark below the scale, in per cent from the left."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Where score and threshold stand, in per cent from the left, and the same in words."""

    score: float
    threshold: float
    ticks: list[Tick]
    words: str | None


def scale(version: ModelVersion, score: float, threshold: float) -> Scale:
    """How a photo's score stands to its threshold."""
    known = rarity.one_in(version, math.inf)  # of none that scores so high: as many as there are
    if known is None or known <= 1:
        ticks = [Tick(100 * step / 4, f"{step / 4:g}") for step in range(5)]
        return Scale(100 * score, 100 * threshold, ticks, None)
    at, from_ = (_place(rarity.one_in(version, value) or 1, known) for value in (score, threshold))
    return Scale(at, from_, _ticks(known), rarity.in_words(version, score))


def _place(one_in: float, known: float) -> float:
    return round(100 * math.log(max(one_in, 1)) / math.log(known), 1)


def _ticks(known: float) -> list[Tick]:
    powers = [10**power for power in range(int(math.log10(known)) + 1)]
    return [Tick(_place(power, known), f"1 in {power:,}" if power > 1 else "all") for power in powers]
