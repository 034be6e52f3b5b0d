"""Calibration: from scores and what people decided to the chance that a photo with this score is AI-generated."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: The number of groups into which decided scores are divided, with about as many each, and how many decisions the prior
#: counts for in each.
GROUPS, PRIOR_WEIGHT = 20, 4.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Chances by score, never falling as scores rise; below the first edge, and without decisions, the prior's."""

    prior: Callable[[float], float]
    #: The lowest score of each group, rising, and its chance.
    edges: Sequence[float] = ()
    chances: Sequence[float] = ()
    decided: int = 0

    def chance(self, score: float) -> float:
        """The chance that a photo with this score is AI-generated."""
        group = bisect_right(self.edges, score) - 1
        if group >= 0:
            return self.chances[group]
        return min(self.prior(score), self.chances[0]) if self.chances else self.prior(score)


def prior_chance(prevalence: float, reals_as_high: int, reals: int) -> float:
    """Bayes' rule for a score that this many of the reference reals reach, if every AI-generated photo reaches it.

    One is added to both counts: a score that no real photo reaches is rare, not impossible.
    """
    rate = (reals_as_high + 1) / (reals + 1)
    return prevalence / (prevalence + (1 - prevalence) * rate)


def calibrate(decided: Sequence[tuple[float, bool]], prior: Callable[[float], float]) -> Calibration:
    """Learn from decided (score, fake) pairs: shares by group, drawn towards the prior, made monotone."""
    rows = sorted(decided)
    size = max(1, -(-len(rows) // GROUPS))
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    weights = [len(group) + PRIOR_WEIGHT for group in groups]
    shares = [
        (sum(fake for _, fake in group) + PRIOR_WEIGHT * prior(group[len(group) // 2][0])) / weight
        for group, weight in zip(groups, weights, strict=True)
    ]
    return Calibration(prior, [group[0][0] for group in groups], isotonic(shares, weights), len(rows))


def isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The closest values that never fall: pool adjacent violators.

    M. Ayer et al., "An empirical distribution function for sampling with incomplete information", Annals of
    Mathematical Statistics 26 (1955).
    """
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        pool = (value, weight, 1)
        while pools and pools[-1][0] > pool[0]:
            pool = _merged(pools.pop(), pool)
        pools.append(pool)
    return [value for value, _, count in pools for _ in range(count)]


def _merged(one: tuple[float, float, int], other: tuple[float, float, int]) -> tuple[float, float, int]:
    weight = one[1] + other[1]
    return (one[0] * one[1] + other[0] * other[1]) / weight, weight, one[2] + other[2]
