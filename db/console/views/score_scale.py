"""A score and its threshold on a scale of how rare they are among real photos.

Raw scores crowd at 0 and 1 and mean little to people; "1 in 1,000 real photos scores as high" does. So the scale is
logarithmic in N of "1 in N"; where the model has no reference scores of real photos, it is linear in the score.
"""

import math
from dataclasses import dataclass

from db.models.score_odds import odds_among
from db.stats.empirical_fpr import RealScores


@dataclass(frozen=True, slots=True)
class ScaleTick:
    """A tick of the scale, in per cent from the left."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class ScoreScale:
    """Where score and threshold stand, in per cent from the left, the ticks, and the score's odds in words.

    Without a ``threshold`` the score is not what flagged the photo.
    """

    score: float
    threshold: float | None
    ticks: list[ScaleTick]
    words: str | None


def score_scale(reals: RealScores | None, score: float, threshold: float | None) -> ScoreScale:
    """The scale of one photo's score, and of the threshold that flagged it, if one did, among these real photos."""
    if reals is None or len(reals.scores) <= 1:
        ticks = [ScaleTick(100 * step / 4, f"{step / 4:g}") for step in range(5)]
        return ScoreScale(100 * score, 100 * threshold if threshold is not None else None, ticks, None)
    known, odds = len(reals.scores), odds_among(reals, score)
    from_ = _place(odds_among(reals, threshold).one_in, known) if threshold is not None else None
    return ScoreScale(_place(odds.one_in, known), from_, _ticks(known), odds.words)


def _place(one_in: float, known: float) -> float:
    return round(100 * math.log(max(one_in, 1)) / math.log(known), 1)


def _ticks(known: float) -> list[ScaleTick]:
    powers = [10**power for power in range(int(math.log10(known)) + 1)]
    return [ScaleTick(_place(power, known), f"1 in {power:,}" if power > 1 else "all") for power in powers]
