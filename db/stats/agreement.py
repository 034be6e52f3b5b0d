"""Agreement between people beyond chance: Cohen's and Fleiss' kappa, with 95 % intervals. No dependencies."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import TypeVar

from db.stats.intervals import CONFIDENCE, Estimate

#: With fewer items an interval says nothing.
FEW = 10

Rated = Sequence[Hashable]
_Item = TypeVar("_Item", bound=Hashable)


def cohen_kappa(pairs: Sequence[tuple[Hashable, Hashable]], confidence: float = CONFIDENCE) -> Estimate | None:
    """Agreement of two people who judged the same items; None where chance alone explains everything.

    J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20 (1960).
    """
    return _jackknife(list(pairs), _cohen, confidence)


def fleiss_kappa(items: Sequence[Rated], confidence: float = CONFIDENCE) -> Estimate | None:
    """Agreement of any number of people; each item has the verdicts of two or more, whoever gave them.

    J. L. Fleiss, "Measuring nominal scale agreement among many raters", Psychological Bulletin 76 (1971). Items may
    have different numbers of verdicts: each counts by its share of agreeing pairs.
    """
    several = [tuple(sorted(item, key=str)) for item in items if len(item) > 1]
    return _jackknife(several, _fleiss, confidence)


def _cohen(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    n = len(pairs)
    if n == 0:
        return None
    agreed = sum(one == other for one, other in pairs) / n
    first, second = (Counter(pair[side] for pair in pairs) for side in (0, 1))
    return _beyond_chance(agreed, sum(first[name] * second[name] for name in first) / n**2)


def _fleiss(items: Sequence[Rated]) -> float | None:
    if not items:
        return None
    counts = [Counter(item) for item in items]
    shares = [_agreeing(count, len(item)) for count, item in zip(counts, items, strict=True)]
    names = Counter(verdict for item in items for verdict in item)
    return _beyond_chance(sum(shares) / len(items), sum((count / names.total()) ** 2 for count in names.values()))


def _agreeing(count: Counter[Hashable], n: int) -> float:
    """The share of pairs of verdicts on one item that agree."""
    return sum(one * (one - 1) for one in count.values()) / (n * (n - 1))


def _beyond_chance(agreed: float, expected: float) -> float | None:
    return (agreed - expected) / (1 - expected) if expected < 1 else None


def _jackknife(
    items: Sequence[_Item], kappa: Callable[[Sequence[_Item]], float | None], confidence: float
) -> Estimate | None:
    """The value, and limits from the values without each item in turn.

    B. Efron, "The jackknife, the bootstrap and other resampling plans" (SIAM 1982), chapter 3; for kappa, H. C.
    Kraemer, "Extension of the kappa coefficient", Biometrics 36 (1980). With few items
    the limits are those of knowing nothing.
    """
    value, n = kappa(items), len(items)
    if value is None:
        return None
    if n < FEW:
        return Estimate(value, -1.0, 1.0)
    # Items that are alike change the value alike: one of each kind is left out, and counts as often as there are such.
    kinds, places = Counter(items), {item: place for place, item in enumerate(items)}
    without = {item: kappa([*items[:place], *items[place + 1 :]]) for item, place in places.items()}
    pseudo = {item: n * value - (n - 1) * (value if one is None else one) for item, one in without.items()}
    mean = math.fsum(count * pseudo[item] for item, count in kinds.items()) / n
    squares = math.fsum(count * (pseudo[item] - mean) ** 2 for item, count in kinds.items())
    error = math.sqrt(squares / (n * (n - 1)))
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return Estimate(value, max(-1.0, value - reach), min(1.0, value + reach))
