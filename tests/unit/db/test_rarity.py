"""A score is said as how few real photos reach it, and no more than the photos can show."""

import pytest

from db.models.rarity import in_words, one_in
from db.schema import ModelVersion


def version(*scores: float) -> ModelVersion:
    return ModelVersion(name="m", card={"reference": {"name": "faces", "scores": list(scores)}})


@pytest.mark.parametrize(
    ("score", "n", "words"),
    [
        (0.9, 4, "1 in 4 real photos scores this high"),
        (0.5, 2, "1 in 2 real photos scores this high"),
        (0.91, 4, "none of 4 real photos scores this high"),
        (0.1, 1, "every real photo does"),
    ],
)
def test_one_in_so_many_scores_this_high(score: float, n: float, words: str) -> None:
    assert one_in(version(0.9, 0.1, 0.5, 0.2), score) == n
    assert in_words(version(0.9, 0.1, 0.5, 0.2), score) == words


def test_big_sets_are_said_with_commas() -> None:
    assert in_words(version(*[0.0] * 1999, 1.0), 0.5) == "1 in 2,000 real photos scores this high"


def test_without_real_photos_nothing_is_said() -> None:
    bare = ModelVersion(name="m", card={})
    assert one_in(bare, 0.5) is None
    assert in_words(bare, 0.5) is None
