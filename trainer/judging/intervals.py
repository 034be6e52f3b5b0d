"""How sure a measured rate is: the interval that holds the true rate in 95 of 100 experiments.

A threshold that was chosen on other photos knows nothing of these: their flags are coin tosses, and `wilson` speaks of
their rate. A threshold that was chosen on these very photos flags as many as it was told to, which is no measurement;
what varies is where the chosen photo happened to lie, and `order_statistic_fpr` speaks of that.
"""

import math

from scipy.special import betaincinv, ndtri  # type: ignore[import-untyped]  # SciPy carries no types


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a rate of ``successes`` in ``n``.

    All rates p that lie within z standard errors √(p(1-p)/n) of the measured one: E. B. Wilson, "Probable inference,
    the law of succession, and statistical inference", JASA 22 (1927). Raises ValueError where there is no such rate.
    """
    _check(successes, n, confidence)
    rate, z = successes / n, float(ndtri((1 + confidence) / 2))
    middle = rate + z**2 / (2 * n)
    half = z * math.sqrt(rate * (1 - rate) / n + (z / (2 * n)) ** 2)
    low, high = ((middle + side) / (1 + z**2 / n) for side in (-half, half))
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def order_statistic_fpr(flagged: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval for the true FPR of a threshold that was set between the k-th and the (k+1)-th largest of n reals.

    With k = ``flagged``: the FPR at the j-th largest of n reals is the j-th smallest of n uniform numbers, so it is
    distributed Beta(j, n - j + 1) (David & Nagaraja, "Order Statistics", 3rd ed. 2003, section 2.1). A threshold in the
    gap has an FPR between those of its ends: at least the one at j = k, Beta(k, n - k + 1), from which the lower limit
    is taken, and at most the one at j = k + 1, Beta(k + 1, n - k), from which the upper. So it holds wherever in the
    gap the threshold lies. (The limits are those of Clopper & Pearson, Biometrika 26 (1934), for another reason.)
    """
    _check(flagged, n, confidence)
    tail = (1 - confidence) / 2
    low = float(betaincinv(flagged, n - flagged + 1, tail)) if flagged > 0 else 0.0
    high = float(betaincinv(flagged + 1, n - flagged, 1 - tail)) if flagged < n else 1.0
    return low, high


def smallest_fpr(n: int) -> float:
    """The smallest FPR that n reals can show: even when none is flagged, the true rate may be 3 / n.

    The rule of three, at 95 %: Hanley & Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249
    (1983).
    """
    return min(1.0, 3 / n)


def _check(successes: int, n: int, confidence: float) -> None:
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} of {n} is no rate")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence of {confidence:g} is not between 0 and 1")
