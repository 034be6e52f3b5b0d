"""An anytime-valid test of "the FPR is at most F", from how many photos are flagged and blind verdicts on some of them.

**What is bet.** Let each real photo of a window be flagged with a probability of at most F, given the past. A gambler
who bets the same share of his capital on each has multiplied it, after B flagged and U unflagged real photos, by
(G/F)^B ((1-G)/(1-F))^U for the FPR G > F that he believes in: the capital process of I. Waudby-Smith and A. Ramdas,
"Estimating means of bounded random variables by betting", JRSS B 86 (2024), section 4. Its mean is at most 1.

**What is not known.** Nobody knows B and U: people judged random samples of the flagged and unflagged photos. A sample
of m, of which k are real, from n photos of which r are real, has the prior-posterior ratio
1 / ((m + 1) Hypergeometric(k; n, r, m)), whose mean is at most 1 if r is right, at any time (I. Waudby-Smith and
A. Ramdas, "Confidence sequences for sampling without replacement", NeurIPS 2020). Half of the capital is kept out of
this bet, so that it costs at most half of it. The product of both, at the B and U for which it is smallest, is at most
that at the true ones: so by J. Ville's inequality (1939) it ever reaches 1 / alpha with a probability of at most alpha,
however often one looks. U alone could be set to the number of all unflagged photos; verdicts on those only sharpen the
test.

**When and how much.** Nobody knows G, nor when the population changes. So the capital is divided among values of G, and
among first windows j with shares 1 / (j (j + 1)); each part is bet from its window on.

**Assumptions.** Verdicts are right; a real photo that is called AI-generated counts for the claim, an AI-generated one
that is called real against it. Whether a sample is judged does not depend on what it shows: reviewers are blind,
and see neither score nor stratum. Real photos are flagged independently of each other, given the past.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: What the gambler believes in: multiples of the FPR that is tested.
RATIOS = (1.05, 1.1, 1.2, 1.4, 1.7, 2.0, 3.0, 5.0, 10.0)
#: A window counts once so many of its flagged samples are judged, or all of them.
ENOUGH = 10
_HALF = math.log(0.5)


@dataclass(frozen=True, slots=True)
class JudgedStratum:
    """Some photos, of which ``drawn`` were chosen at random; people judged ``judged``, and found ``reals`` real."""

    photos: int
    drawn: int
    judged: int
    reals: int


@dataclass(frozen=True, slots=True)
class JudgedWindow:
    """The photos of some time: those that a threshold flags, and the others in one or more strata."""

    flagged: JudgedStratum
    unflagged: tuple[JudgedStratum, ...]

    @property
    def counts(self) -> bool:
        """Whether enough of the flagged photos are judged, which does not depend on what they show."""
        return self.flagged.judged >= min(ENOUGH, self.flagged.drawn)


def log_e_value(windows: Sequence[JudgedWindow], fpr: float) -> float:
    """The logarithm of the e-value against "the FPR is at most ``fpr``", after these windows in order.

    The claim is rejected, once and for all, when it has reached log(1 / alpha) once. Raises ValueError for an FPR that
    is not between 0 and 1.
    """
    if not 0 < fpr < 1:
        raise ValueError(f"an FPR of {fpr:g} is not between 0 and 1")
    believed = [fpr * ratio for ratio in RATIOS if fpr * ratio < 1] or [(1 + fpr) / 2]
    return _log_sum([_of_belief(windows, fpr, each) for each in believed]) - math.log(len(believed))


def _of_belief(windows: Sequence[JudgedWindow], fpr: float, believed: float) -> float:
    """The capital of all first windows together; what is kept for windows to come counts as it is."""
    after, parts = 0.0, [-math.log(len(windows) + 1)]  # the shares from n + 1 on sum to 1 / (n + 1)
    for number in range(len(windows), 0, -1):
        after += _of_window(windows[number - 1], fpr, believed)
        parts.append(after - math.log(number * (number + 1)))
    return _log_sum(parts)


@functools.lru_cache(maxsize=4096)  # whoever looks again has the same windows, and perhaps one more
def _of_window(window: JudgedWindow, fpr: float, believed: float) -> float:
    """The logarithm of what a window multiplies the capital by, at the fewest flagged and most unflagged reals."""
    if not window.counts:
        return 0.0
    won, lost = math.log(believed / fpr), math.log1p(-believed) - math.log1p(-fpr)
    return least_capital(window.flagged, won) + sum(least_capital(stratum, lost) for stratum in window.unflagged)


def least_capital(stratum: JudgedStratum, each: float) -> float:
    """The least of r·``each`` and the bet on r together, over all numbers r of reals that the verdicts leave possible.

    Both are convex in r, so the least is where the difference of neighbours turns from negative to positive.
    """
    capital = bet_capital(stratum, each)
    low, high = stratum.reals, stratum.photos - (stratum.judged - stratum.reals)
    while low < high:
        middle = (low + high) // 2
        if capital(middle + 1) >= capital(middle):
            high = middle
        else:
            low = middle + 1
    return capital(low)


def bet_capital(stratum: JudgedStratum, each: float) -> Callable[[int], float]:
    """The logarithm of r·``each`` and the bet on r together, as a function of r."""
    n, m, k = stratum.photos, stratum.judged, stratum.reals
    known = math.lgamma(k + 1) + math.lgamma(m - k + 1) - math.lgamma(m + 2) + _log_falling(n, m)

    def of(reals: int) -> float:
        ratio = known - _log_falling(reals, k) - _log_falling(n - reals, m - k)
        return reals * each + _log_sum([_HALF, _HALF + ratio])

    return of


def _log_falling(n: int, k: int) -> float:
    """The logarithm of n (n - 1) ... (n - k + 1)."""
    return math.lgamma(n + 1) - math.lgamma(n - k + 1)


def _log_sum(logs: Sequence[float]) -> float:
    """The logarithm of a sum, from its parts' logarithms."""
    most = max(logs)
    return most + math.log(math.fsum(math.exp(log - most) for log in logs))
