"""What a score means to people: how few real photos score as high."""

import math
from bisect import bisect_left

from db.models.references import card_reals
from db.schema import ModelVersion
from db.stats.empirical_fpr import RealScores
from db.stats.intervals import clopper_pearson

#: 1 of 1,006 is about 1 in 1,000, and not 10 in 10,000: this much of a power of ten does not count.
_ABOUT = 0.05
_HALF = 0.5


def one_in(version: ModelVersion, score: float) -> float | None:
    """N, where 1 in N real photos of the version's card scores this high; where none does, N is a lower limit.

    None when the card has no scores of real photos.
    """
    reals = card_reals(version)
    return one_in_reals(reals, score) if reals is not None else None


def one_in_reals(reals: RealScores, score: float) -> float:
    """N, where 1 in N of these reals scores this high; at least N where none does."""
    return len(reals.scores) / max(1, _as_high(reals, score))


def odds_in_words(version: ModelVersion, score: float) -> str | None:
    """How rare a score is among real photos, with what is known of it (95 %): "about 3 in 1,000 (1 to 9)".

    None when the card has no scores of real photos.
    """
    reals = card_reals(version)
    if reals is None:
        return None
    found, known = _as_high(reals, score), len(reals.scores)
    rate = clopper_pearson(found, known)
    if found == 0:
        scale = _scale(rate.high)
        high = f"{_number(scale * rate.high)} in {scale:,}"
        return f"none of {known:,} real photos scores this high (95 % sure: at most {high})"
    if found == known:
        return f"all {known:,} real photos score this high"
    scale = _scale(rate.value)
    numbers = [_number(scale * part) for part in (rate.value, rate.low, rate.high)]
    return f"about {numbers[0]} in {scale:,} real photos score this high ({numbers[1]} to {numbers[2]})"


def _scale(rate: float) -> int:
    """The power of ten, 100 at least, in which the rate is about one at least."""
    power: int = 10 ** math.ceil(-math.log10(rate) - _ABOUT)
    return max(100, power)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= _HALF or value == 0 else f"{value:.1g}"


def _as_high(reals: RealScores, score: float) -> int:
    return len(reals.scores) - bisect_left(reals.scores, score)
