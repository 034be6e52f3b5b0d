"""Estimates from stratified samples, with 95 % intervals: totals over strata, and the share of one of two totals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from db.stats.intervals import Estimate, wilson


@dataclass(frozen=True, slots=True)
class Stratum:
    """A random sample: people judged ``judged`` of ``population`` photos, and found ``fakes`` to be AI-generated."""

    population: int
    judged: int
    fakes: int

    @property
    def reals(self) -> int:
        """How many of the judged photos are real."""
        return self.judged - self.fakes


def fakes_in(strata: Sequence[Stratum]) -> Estimate:
    """The number of AI-generated photos in all of these strata; each stratum with photos must have judged ones."""
    return _total([(stratum.population, stratum.judged, stratum.fakes) for stratum in strata if stratum.population])


def reals_in(strata: Sequence[Stratum]) -> Estimate:
    """The number of real photos in all of these strata; each stratum with photos must have judged ones."""
    return _total([(stratum.population, stratum.judged, stratum.reals) for stratum in strata if stratum.population])


def share(part: Estimate, rest: Estimate) -> Estimate | None:
    """``part`` / (``part`` + ``rest``), of totals that were estimated independently; None where both are 0.

    The limits are those of the ratio of ``part`` to ``rest`` by MOVER-R: A. Donner, G. Y. Zou, "Closed-form confidence
    intervals for functions of the normal mean and standard deviation", Statistical Methods in Medical Research 21
    (2012), equation (6); R. G. Newcombe, "MOVER-R confidence intervals for ratios and products of two independently
    estimated quantities", the same, 25 (2016).
    """
    whole = part.value + rest.value
    if whole == 0:
        return None
    if rest.high == 0:
        return Estimate(1.0, 1.0, 1.0)
    if part.high == 0:
        return Estimate(0.0, 0.0, 0.0)
    low, upside_down = _lower_ratio(part, rest), _lower_ratio(rest, part)
    return Estimate(part.value / whole, low / (1 + low), 1 / (1 + upside_down))


def _total(counts: Sequence[tuple[int, int, int]]) -> Estimate:
    """Stratified: the sum of N·k/n (W. G. Cochran, "Sampling Techniques", 3rd ed. 1977, section 5.3).

    The limits are MOVER's, for a sum of binomial rates: G. Y. Zou, W. Huang, X. Zhang, "A note on confidence interval
    estimation for a linear function of binomial proportions", Computational Statistics & Data Analysis 53 (2009); from
    each stratum's Wilson limits, so that a stratum without findings still counts by what it may hide. Judging much of a
    small stratum leaves less uncertainty: distances shrink by the square root of 1 - n/N (Cochran, 2.6).
    """
    value, below, above = 0.0, 0.0, 0.0
    for population, judged, found in counts:
        rate, left = wilson(found, judged), 1 - judged / population
        value += population * rate.value
        below += (population * (rate.value - rate.low)) ** 2 * left
        above += (population * (rate.high - rate.value)) ** 2 * left
    most = sum(population for population, _, _ in counts)
    return Estimate(value, max(0.0, value - math.sqrt(below)), min(float(most), value + math.sqrt(above)))


def _lower_ratio(part: Estimate, rest: Estimate) -> float:
    """The lower limit of ``part`` / ``rest``; the upper one is the inverse of that of ``rest`` / ``part``."""
    product = part.value * rest.value
    reach, scale = part.low * (2 * part.value - part.low), rest.high * (2 * rest.value - rest.high)
    if reach == 0:
        return 0.0
    if scale == 0:
        return reach / (2 * product)
    return (product - math.sqrt(max(0.0, product**2 - reach * scale))) / scale
