"""Certified thresholds: with a confidence that is chosen first, the true FPR is at most the rate that was asked for.

The FPR of any threshold above the (k + 1)-th largest of n real photos is at most the share of real photos above that
one, which is distributed Beta(k + 1, n - k) whatever the detector is, and smaller where scores are equal (David &
Nagaraja, "Order Statistics", 3rd ed. 2003, section 2.1). So it exceeds a rate F with the probability that at most k of
n photos are flagged at F: the test of C. J. Clopper and E. S. Pearson, Biometrika 26 (1934). The largest k for which
that is at most 1 - confidence follows from n and F alone. A threshold by the plain share k = F·n exceeds F about every
second time; arXiv 2606.15153 measures both rules.

It assumes that the reals are a random sample of the population, drawn independently of each other and of training.
"""

import functools
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from db.stats.empirical_fpr import RealScores, threshold_flagging
from db.stats.intervals import CONFIDENCE, binomial_cdf, upper_limit

#: Cards round scores to seven decimals: a certified threshold lies further than that above the last score it keeps.
_ROUNDED = 6e-8
_LEAST, _STEPS = 100, (2, 5, 10)


@dataclass(frozen=True, slots=True)
class CohortBound:
    """Real photos with one value in one column of the reference, and the highest FPR that they may have."""

    column: str
    value: str
    reals: int
    flagged: int
    bound: float

    @property
    def words(self) -> str:
        """The cohort, and how many of it are flagged."""
        return f"{self.column}: {self.value} ({self.flagged:,} of {self.reals:,} flagged)"


@dataclass(frozen=True, slots=True)
class Certificate:
    """With this ``confidence`` the true FPR of ``threshold`` is at most ``bound``, which is at most ``target_fpr``.

    It may flag ``allowed`` of the ``reals``. ``cohorts`` is empty unless each of them is certified: then all their
    bounds hold together.
    """

    target_fpr: float
    confidence: float
    threshold: float
    allowed: int
    reals: int
    bound: float
    cohorts: tuple[CohortBound, ...] = ()


class TooFewRealsError(ValueError):
    """These reals certify no threshold; ``needed`` would."""

    def __init__(self, reals: int, needed: int, cohort: str | None = None) -> None:
        of = f" of cohort {cohort!r}" if cohort is not None else ""
        super().__init__(f"{needed:,} reals{of}, {reals:,} given")
        self.needed = needed


@functools.lru_cache(maxsize=1024)
def count_certified(target_fpr: float, reals: int, confidence: float = CONFIDENCE) -> int | None:
    """How many of ``reals`` photos a threshold may flag so that its true FPR is certified; None: not even none.

    Raises ValueError when the rate or the confidence is not between 0 and 1.
    """
    _check_shares(target_fpr, confidence)
    low, high = -1, min(reals - 1, math.ceil(target_fpr * reals))
    while low < high:
        middle = (low + high + 1) // 2
        if binomial_cdf(middle, reals, target_fpr) <= 1 - confidence:
            low = middle
        else:
            high = middle - 1
    return low if low >= 0 else None


def reals_to_certify(target_fpr: float, confidence: float = CONFIDENCE) -> int:
    """The fewest real photos that certify such an FPR: the n for which (1 - F)^n is at most 1 - confidence."""
    _check_shares(target_fpr, confidence)
    about = math.ceil(math.log1p(-confidence) / math.log1p(-target_fpr))  # its rounding may be one off
    enough = (n for n in (about - 1, about) if n > 0 and count_certified(target_fpr, n, confidence) is not None)
    return next(enough, about + 1)


def next_size(reals: int) -> int:
    """A round number of reals that is larger: 200, 500, 1,000, 2,000, 5,000 and so on."""
    power = _LEAST
    while power * _STEPS[-1] <= reals:
        power *= _STEPS[-1]
    return next(power * step for step in _STEPS if power * step > reals)


def certify(reals: RealScores, target_fpr: float, confidence: float = CONFIDENCE) -> Certificate:
    """The lowest threshold whose FPR these reals certify.

    Raises `TooFewRealsError` when they are too few, and ValueError as `count_certified` does.
    """
    allowed, threshold, bound = _certify(reals.scores, target_fpr, confidence)
    return Certificate(target_fpr, confidence, threshold, allowed, len(reals.scores), bound)


def certify_cohorts(reals: RealScores, target_fpr: float, confidence: float = CONFIDENCE) -> Certificate:
    """The lowest threshold whose FPR is certified for each cohort, and so for any mixture of a column's cohorts.

    Each of m cohorts is certified with 1 - (1 - confidence) / m, so that all hold together (Bonferroni's inequality).
    Raises `TooFewRealsError` for the smallest cohort that is too small, and ValueError when there are no cohorts.
    """
    if not reals.cohorts:
        raise ValueError("it has no column of cohorts")
    each = 1 - (1 - confidence) / len(reals.cohorts)
    found = {}
    for cohort, scores in sorted(reals.cohorts.items(), key=lambda item: len(item[1])):
        found[cohort] = _certify(scores, target_fpr, each, ": ".join(cohort))
    threshold = max(value for _, value, _ in found.values())
    rows = [
        CohortBound(*cohort, len(reals.cohorts[cohort]), flagged_at(reals.cohorts[cohort], threshold), bound)
        for cohort, (_, _, bound) in found.items()
    ]
    allowed = flagged_at(reals.scores, threshold)
    worst = max(row.bound for row in rows)
    return Certificate(target_fpr, confidence, threshold, allowed, len(reals.scores), worst, tuple(_worst_first(rows)))


def cohort_bounds(reals: RealScores, threshold: float, confidence: float = CONFIDENCE) -> list[CohortBound]:
    """The highest FPR that each cohort may have at a threshold, the worst first; all hold together, as above.

    It takes the threshold as given, although these reals may have had a say in it: for one cohort that is nearly so.
    """
    each = 1 - (1 - confidence) / max(1, len(reals.cohorts))
    rows = []
    for (column, value), scores in reals.cohorts.items():
        flagged = flagged_at(scores, threshold)
        bound = upper_limit(flagged, len(scores), each)
        rows.append(CohortBound(column, value, len(scores), flagged, bound))
    return _worst_first(rows)


def flagged_at(ascending: Sequence[float], threshold: float) -> int:
    """How many of these ascending scores are at or above a threshold."""
    return len(ascending) - bisect_left(ascending, threshold)


def _certify(
    ascending: Sequence[float], target_fpr: float, confidence: float, cohort: str | None = None
) -> tuple[int, float, float]:
    """How many may be flagged, the threshold, and the bound on its FPR."""
    allowed = count_certified(target_fpr, len(ascending), confidence)
    if allowed is None:
        raise TooFewRealsError(len(ascending), reals_to_certify(target_fpr, confidence), cohort)
    threshold = max(threshold_flagging(ascending, allowed), ascending[-1 - allowed] + _ROUNDED)
    return allowed, threshold, upper_limit(allowed, len(ascending), confidence)


def _worst_first(rows: Sequence[CohortBound]) -> list[CohortBound]:
    return sorted(rows, key=lambda row: (-row.bound, row.column, row.value))


def _check_shares(target_fpr: float, confidence: float) -> None:
    for what, share in (("an FPR", target_fpr), ("a confidence", confidence)):
        if not 0 < share < 1:
            raise ValueError(f"{what} of {share:g} is not between 0 and 1")
