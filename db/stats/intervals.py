"""How sure a measured rate is: 95 % intervals, without SciPy, since policy commands answer at once on any machine."""

import math
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95
#: Each halving doubles the precision; after so many nothing of a double is left to find.
_HALVINGS = 64
_TERMS = 10_000
_EPSILON = 1e-15
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, and the interval that holds the true one with the confidence that was asked for."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Estimate":
        """The same of ``factor`` as many."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """A rate of ``successes`` in ``n`` independent photos, with Wilson's score interval.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    _check(successes, n)
    rate, z = successes / n, NormalDist().inv_cdf((1 + confidence) / 2)
    middle = rate + z**2 / (2 * n)
    half = z * math.sqrt(rate * (1 - rate) / n + (z / (2 * n)) ** 2)
    low, high = ((middle + side) / (1 + z**2 / n) for side in (-half, half))
    return Estimate(rate, 0.0 if successes == 0 else low, 1.0 if successes == n else high)


def order_statistic_fpr(flagged: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """The FPR of a threshold between the k-th and the (k+1)-th largest of ``n`` reals, k = ``flagged``.

    The FPR at the j-th largest of n reals is distributed Beta(j, n - j + 1) (David & Nagaraja, "Order Statistics", 3rd
    ed. 2003, section 2.1); the limits are those of both ends of the gap. For a threshold that was not chosen on these
    reals the same limits are Clopper and Pearson's (Biometrika 26, 1934).
    """
    _check(flagged, n)
    tail = (1 - confidence) / 2
    low = beta_quantile(tail, flagged, n - flagged + 1) if flagged > 0 else 0.0
    high = beta_quantile(1 - tail, flagged + 1, n - flagged) if flagged < n else 1.0
    return Estimate(flagged / n, low, high)


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x below which a Beta(a, b) variable lies with this probability, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _beta_cdf(middle, a, b) < probability else (low, middle)
    return (low + high) / 2


def _beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function (DLMF 8.17); its fraction converges on the smaller side of the mean."""
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_cdf(1 - x, b, a)
    if x <= 0:
        return 0.0
    log_front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(log_front) / (a * _beta_fraction(x, a, b))


def _beta_fraction(x: float, a: float, b: float) -> float:
    """The continued fraction 1 + d1/(1 + d2/(1 + ...)) of DLMF 8.17.22, by Lentz's method (DLMF 3.10(iii))."""
    result, upper, lower = 1.0, 1.0, 0.0
    for term in range(1, _TERMS):
        m, odd = divmod(term, 2)
        if odd:
            step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        lower = 1 / ((1 + step * lower) or _TINY)
        upper = (1 + step / upper) or _TINY
        result *= upper * lower
        if abs(upper * lower - 1) < _EPSILON:
            break
    return result


def _check(successes: int, n: int) -> None:
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} of {n} is no rate")
