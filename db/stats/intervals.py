"""How sure a measured rate is: the interval that holds the true rate in 95 of 100 experiments.

A threshold that was chosen on other photos is independent of these: their flags are coin tosses, and `wilson` gives
the interval of their rate. A threshold that was chosen on these very photos flags as many as it was told to, which
measures nothing; what varies is where the chosen photo happened to lie, and `order_statistic_fpr` gives that interval.
Without SciPy, because policy commands must answer at once on machines that have none.
"""

import functools
import math
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95
#: Each halving adds a bit of precision; after this many a double holds no more.
_HALVINGS = 64
_TERMS = 10_000
_EPSILON = 1e-15
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value, and the limits between which the true one lies with the confidence that was asked for."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Estimate":
        """The estimate of ``factor`` times the value: a rate times a count is a number of photos."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """A rate of ``successes`` in ``n`` independent photos, with Wilson's score interval.

    All rates p that lie within z standard errors √(p(1-p)/n) of the measured one: E. B. Wilson, "Probable inference,
    the law of succession, and statistical inference", JASA 22 (1927). Raises ValueError where there is no such rate.
    """
    _check(successes, n, confidence)
    rate, z = successes / n, NormalDist().inv_cdf((1 + confidence) / 2)
    middle = rate + z**2 / (2 * n)
    half = z * math.sqrt(rate * (1 - rate) / n + (z / (2 * n)) ** 2)
    low, high = ((middle + side) / (1 + z**2 / n) for side in (-half, half))
    return Estimate(rate, 0.0 if successes == 0 else low, 1.0 if successes == n else high)


def clopper_pearson(successes: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """A rate of ``successes`` in ``n`` independent photos, with Clopper and Pearson's exact interval.

    The limits are quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k), k = ``successes``: C. J. Clopper and E. S.
    Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26 (1934).
    Raises ValueError where there is no such rate.
    """
    _check(successes, n, confidence)
    tail = (1 - confidence) / 2
    low = beta_quantile(tail, successes, n - successes + 1) if successes > 0 else 0.0
    high = beta_quantile(1 - tail, successes + 1, n - successes) if successes < n else 1.0
    return Estimate(successes / n, low, high)


def order_statistic_fpr(flagged: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """The true FPR of a threshold that was set between the k-th and the (k+1)-th largest of ``n`` reals.

    With k = ``flagged``: the FPR at the j-th largest of n reals is the j-th smallest of n uniform numbers, so it is
    distributed Beta(j, n - j + 1) (David & Nagaraja, "Order Statistics", 3rd ed. 2003, section 2.1). A threshold in the
    gap has an FPR of at least the one at j = k and at most the one at j = k + 1, so the interval holds wherever in the
    gap it lies. Its limits are those of `clopper_pearson`, for another reason. Raises ValueError as that does.
    """
    return clopper_pearson(flagged, n, confidence)


@functools.lru_cache(maxsize=1024)  # cohorts of one size, and one set looked at again, have the same limits
def upper_limit(successes: int, n: int, confidence: float = CONFIDENCE) -> float:
    """The rate that the true one exceeds with a probability of at most 1 - ``confidence``: one-sided.

    The quantile of Beta(k + 1, n - k), k = ``successes`` (Clopper and Pearson, as in `clopper_pearson`). By
    `order_statistic_fpr` it also bounds the FPR of a threshold above the (k + 1)-th largest of n reals. Raises
    ValueError where there is no such rate.
    """
    _check(successes, n, confidence)
    return beta_quantile(confidence, successes + 1, n - successes) if successes < n else 1.0


def binomial_cdf(most: int, n: int, rate: float) -> float:
    """The probability of at most ``most`` < n successes in n trials at this rate (DLMF 8.17.5)."""
    return _beta_cdf(1 - rate, n - most, most + 1)


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x in 0..1 below which a Beta(a, b) variable lies with this probability, by bisection."""
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


def _check(successes: int, n: int, confidence: float) -> None:
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} of {n} is not a rate")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence of {confidence:g} is not between 0 and 1")
