"""A score in words that people can weigh: how few real photos score as high."""

from bisect import bisect_left

from db.stats.reals import Reals
from db.models.references import card_reals
from db.schema import ModelVersion


def one_in(version: ModelVersion, score: float) -> float | None:
    """N, where 1 in N real photos of the version's card scores this high; at least N where none does.

    None when the card has no scores of real photos.
    """
    reals = card_reals(version)
    return len(reals.scores) / max(1, _as_high(reals, score)) if reals is not None else None


def in_words(version: ModelVersion, score: float) -> str | None:
    """The same as a sentence, which says "none of N" where that is all that is known."""
    reals = card_reals(version)
    if reals is None:
        return None
    found, known = _as_high(reals, score), len(reals.scores)
    if found == 0:
        return f"none of {known:,} real photos scores this high"
    return f"1 in {known / found:,.0f} real photos scores this high" if found < known else "every real photo does"


def _as_high(reals: Reals, score: float) -> int:
    return len(reals.scores) - bisect_left(reals.scores, score)
