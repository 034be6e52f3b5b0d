"""Scores of real photos: which threshold flags how many of them, and what that shows."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from db.errors import DbError
from db.stats.intervals import Estimate, order_statistic_fpr

#: Reals needed are this over the FPR: when none of n is flagged, the true rate may still be 3 / n (the rule of three,
#: at 95 %: Hanley & Lippman-Hand, JAMA 249, 1983).
RULE_OF_THREE = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """The false positive rate of a threshold, on which reals."""

    fpr: Estimate
    reals: int
    reference: str


@dataclass(frozen=True, slots=True)
class Reals:
    """A named set of real photos by their scores, ascending."""

    name: str
    scores: Sequence[float]

    def measure(self, value: float) -> Measured:
        """The share at or above a threshold."""
        flagged = len(self.scores) - bisect_left(self.scores, value)
        return Measured(order_statistic_fpr(flagged, len(self.scores)), len(self.scores), self.name)

    def threshold_at(self, target_fpr: float) -> float:
        """The lowest threshold that flags at most ``target_fpr`` of them.

        Midway between the last score that may be flagged and the next below, so that rounding moves nobody across.
        """
        last = len(self.scores) - 1 - math.floor(target_fpr * len(self.scores) + 1e-9)
        kept = self.scores[last]
        above = bisect_right(self.scores, kept)
        flagged = self.scores[above] if above < len(self.scores) else kept
        value = max((flagged + kept) / 2, math.nextafter(kept, math.inf))
        if value > 1:
            raise DbError(f"reference {self.name!r}: no threshold has an FPR of {target_fpr:g}, too many score 1")
        return value


def reals_needed(target_fpr: float) -> int:
    """How many reals can show such an FPR."""
    return math.ceil(RULE_OF_THREE / target_fpr - 1e-9)
