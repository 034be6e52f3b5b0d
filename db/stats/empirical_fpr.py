"""What a threshold does to real photos: its false positive rate, measured on their scores, and what follows from it.

A score at or above the threshold is flagged.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from db.stats.intervals import Estimate, order_statistic_fpr

#: The reals needed are this number over the FPR: if none of n is flagged, the true rate may still be 3 / n. The rule
#: of three, at 95 %: Hanley & Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249 (1983).
RULE_OF_THREE = 3
#: The share of profile photos that are AI-generated, as measured on 15 million of them on Twitter: 0.052 %
#: (J. Ricker et al., "AI-Generated Faces in the Real World", arXiv 2404.14244).
PREVALENCE = 0.0005
#: A product such as 0.29 × 100 may lie this far from the whole number that it stands for.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Measured:
    """A threshold's false positive rate, and the named set of ``reals`` photos on which it was measured."""

    fpr: Estimate
    reals: int
    reference: str


@dataclass(frozen=True, slots=True)
class RealScores:
    """The scores of a named set of real photos, ascending; ``cohorts``: those of each (column, value) it knows."""

    name: str
    scores: Sequence[float]
    cohorts: Mapping[tuple[str, str], Sequence[float]] = field(default_factory=dict)

    def measure(self, threshold: float) -> Measured:
        """The share of these photos at or above a threshold. Raises ValueError when there are no photos."""
        flagged = len(self.scores) - bisect_left(self.scores, threshold)
        return Measured(order_statistic_fpr(flagged, len(self.scores)), len(self.scores), self.name)


def threshold_at_fpr(ascending: Sequence[float], target_fpr: float) -> float:
    """The lowest threshold that flags at most ``target_fpr`` of real photos with these ascending scores.

    It lies midway between the last score that may be flagged and the next one below, so that rounding moves no photo
    across. It flags none where there are fewer than 1 / target scores, and lies just above 1 where too many score 1.
    Raises ValueError when there are no scores, or the target is not between 0 and 1.
    """
    flaggable = count_allowed(target_fpr, len(ascending))
    if not ascending:
        raise ValueError("no real photos: there is no threshold with a false positive rate")
    return threshold_flagging(ascending, flaggable)


def threshold_flagging(ascending: Sequence[float], flaggable: int) -> float:
    """The lowest threshold that flags at most ``flaggable`` of photos with these ascending scores, as above."""
    kept = ascending[-1 - flaggable]
    above = bisect_right(ascending, kept)
    flagged = ascending[above] if above < len(ascending) else kept
    return max((flagged + kept) / 2, math.nextafter(kept, math.inf))


def count_allowed(target_fpr: float, reals: int) -> int:
    """How many of ``reals`` photos a target FPR lets a threshold flag.

    Raises ValueError when the target is not between 0 and 1.
    """
    if not 0 < target_fpr < 1:
        raise ValueError(f"an FPR of {target_fpr:g} is not between 0 and 1")
    return math.floor(target_fpr * reals + _ROUNDING)


def reals_needed(target_fpr: float) -> int:
    """How many real photos can show such an FPR, by the rule of three."""
    return math.ceil(RULE_OF_THREE / target_fpr - _ROUNDING)


def smallest_fpr(reals: int) -> float:
    """The smallest FPR that so many real photos can show, by the rule of three."""
    return min(1.0, RULE_OF_THREE / reals)


def few_reals(reals: int, target_fpr: float) -> str | None:
    """A sentence for people where so many real photos are too few to show an FPR; None where they are enough."""
    needed = reals_needed(target_fpr)
    if reals >= needed:
        return None
    smallest = f"they can show {smallest_fpr(reals):.2g} at best"
    return f"{reals} reals are too few to show an FPR of {target_fpr:g}, which takes {needed}: {smallest}"


def positive_predictive_value(tpr: float, fpr: float, prevalence: float) -> float:
    """The precision of flags: the share that is right where ``prevalence`` of the photos are AI-generated.

    π·TPR / (π·TPR + (1 - π)·FPR), Bayes' theorem: D. G. Altman and J. M. Bland, "Diagnostic tests 2: predictive
    values", BMJ 309 (1994), p. 102. 0 where nothing is flagged.
    """
    right, wrong = prevalence * tpr, (1 - prevalence) * fpr
    return right / (right + wrong) if right + wrong > 0 else 0.0
