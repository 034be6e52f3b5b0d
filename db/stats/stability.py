"""Verdicts that survive re-delivery: a photo near a threshold is judged by several deliveries of it.

Photos within a band round the threshold are scored again over a few other deliveries of the same photo. A photo is
flagged when its score and all of those reach the threshold, unstable when only some of them do, and else clear. The
rule takes flags away from what the threshold alone flags and adds none, so a certified false positive rate still holds.

The band is as wide on both sides in the model's own scale, the log-odds of the score, and holds a given share of the
scores of reference photos. So it fits every model: one that separates well has a narrow one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

#: Of photos like those of the reference, this share lies in the band.
BAND_SHARE = 0.02
#: Log-odds on each side of the threshold, where no reference says how scores lie.
PLAIN_WIDTH = 1.0
_LEAST = 1e-15

Judgement = Literal["flagged", "unstable", "clear"]


@dataclass(frozen=True, slots=True)
class ScoreBand:
    """Scores from ``low`` to ``high``, round a threshold."""

    low: float
    high: float

    def __contains__(self, score: float) -> bool:
        return self.low <= score <= self.high


@dataclass(frozen=True, slots=True)
class Stability:
    """The lowest and the highest score of a photo and of ``deliveries`` others of it, made by a version of a recipe."""

    low: float
    high: float
    deliveries: int
    recipe: int

    @classmethod
    def of(cls, score: float, others: Sequence[float], recipe: int) -> Self:
        """The limits of a photo's score and of those of its other deliveries."""
        return cls(min(score, *others), max(score, *others), len(others), recipe)

    def judge(self, threshold: float) -> Judgement:
        """What a threshold makes of the photo."""
        if self.low >= threshold:
            return "flagged"
        return "unstable" if self.high >= threshold else "clear"


def judge(score: float, stability: Stability | None, threshold: float) -> Judgement:
    """The same, by the score alone where nobody measured how stable it is."""
    if stability is not None:
        return stability.judge(threshold)
    return "flagged" if score >= threshold else "clear"


def score_band(threshold: float, reals: Sequence[float], share: float = BAND_SHARE) -> ScoreBand:
    """The band that holds ``share`` of these reals' scores, at least one; of `PLAIN_WIDTH` where there are none."""
    middle = _log_odds(threshold)
    width = PLAIN_WIDTH
    if reals:
        held = max(1, math.floor(share * len(reals)))
        width = sorted(abs(_log_odds(score) - middle) for score in reals)[held - 1]
    return ScoreBand(_score(middle - width), _score(middle + width))


def _log_odds(score: float) -> float:
    clear = min(max(score, _LEAST), 1 - _LEAST)
    return math.log(clear / (1 - clear))


def _score(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
