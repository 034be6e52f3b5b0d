"""Drift statistics: the distance between two histograms of scores, and whether chance explains it. No SciPy."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

#: The index's usual alarm levels: below the first a distribution counts as stable (Siddiqi, as below).
WATCH, ALARM = 0.1, 0.25
#: The number of groups into which the reference is divided, with about as many scores each.
GROUPS = 10
#: With fewer scores on either side there is no verdict; a difference that chance makes this often counts as none.
FEW, CHANCE = 100, 0.01
_TERMS = 101


@dataclass(frozen=True, slots=True)
class Distance:
    """The distance from a reference: the population stability index, and the Kolmogorov-Smirnov test.

    ``level`` is "stable", "watch" or "alarm"; "few" where there are too few scores.
    """

    psi: float
    ks: float
    p_value: float
    level: str


def distance(reference: Mapping[int, int], found: Mapping[int, int]) -> Distance:
    """The distance between counts by bin; bins with a higher number hold higher scores."""
    n, m = sum(reference.values()), sum(found.values())
    if min(n, m) < FEW:
        return Distance(0.0, 0.0, 1.0, "few")
    bins = sorted(reference.keys() | found.keys())
    counts = [(reference.get(number, 0), found.get(number, 0)) for number in bins]
    index, gap = psi(grouped(counts, n)), ks(counts, n, m)
    p_value = kolmogorov(gap * math.sqrt(n * m / (n + m)))
    return Distance(index, gap, p_value, _level(index, p_value))


def grouped(counts: Iterable[tuple[int, int]], n: int, groups: int = GROUPS) -> list[tuple[int, int]]:
    """Merge neighbouring bins until each group has its share of the reference's ``n``; the last takes the rest."""
    found: list[tuple[int, int]] = []
    before, after, total, edge = 0, 0, 0, 1
    for reference, other in counts:
        before, after, total = before + reference, after + other, total + reference
        if total * groups >= edge * n:
            found.append((before, after))
            before, after, edge = 0, 0, total * groups // n + 1
    if (before, after) != (0, 0):
        last = found.pop() if found else (0, 0)
        found.append((last[0] + before, last[1] + after))
    return found


def psi(counts: Iterable[tuple[int, int]]) -> float:
    """The population stability index Σ (q - p) ln(q / p) of shares p of the reference and q.

    N. Siddiqi, "Credit Risk Scorecards" (Wiley 2006), with its levels: below 0.1 no change, from 0.25 on a shift. It is
    Kullback and Leibler's symmetric divergence (Annals of Mathematical Statistics 22, 1951). Half a score is added to
    each group, so that an empty one is not infinitely distant.
    """
    filled = [(one + 0.5, other + 0.5) for one, other in counts]
    n, m = (sum(side) for side in zip(*filled, strict=True))
    return math.fsum((other / m - one / n) * math.log((other / m) / (one / n)) for one, other in filled)


def ks(counts: Iterable[tuple[int, int]], n: int, m: int) -> float:
    """The largest gap between the two distribution functions at the bins' ends; finer bins never make it smaller."""
    steps = accumulate(counts, lambda sums, pair: (sums[0] + pair[0], sums[1] + pair[1]), initial=(0, 0))
    return max(abs(one / n - other / m) for one, other in steps)


def kolmogorov(x: float) -> float:
    """The probability of a gap of at least x / sqrt(nm / (n + m)) without drift: 2 Σ (-1)^(k-1) exp(-2 k² x²).

    N. Smirnov, "Table for estimating the goodness of fit of empirical distributions", Annals of Mathematical Statistics
    19 (1948). Binned scores make it larger: the test errs towards "no change".
    """
    if x < 0.2:  # noqa: PLR2004 - it is 1 to twelve decimals there, and the sum converges slowly
        return 1.0
    terms = ((-1.0) ** (k - 1) * math.exp(-2.0 * k * k * x * x) for k in range(1, _TERMS))
    return min(1.0, max(0.0, 2.0 * sum(terms)))


def _level(index: float, p_value: float) -> str:
    if p_value >= CHANCE or index < WATCH:
        return "stable"
    return "alarm" if index >= ALARM else "watch"
