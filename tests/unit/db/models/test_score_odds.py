"""A score is said as how few real photos reach it, and no more than the photos can show."""

import pytest

from db.models.score_odds import odds_in_words, one_in
from db.schema import ModelVersion


def version(*scores: float) -> ModelVersion:
    return ModelVersion(name="m", card={"reference": {"name": "faces", "scores": list(scores)}})


@pytest.mark.parametrize(
    ("score", "n", "words"),
    [
        (0.9, 4, "about 25 in 100 real photos score this high (1 to 81)"),
        (0.5, 2, "about 50 in 100 real photos score this high (7 to 93)"),
        (0.91, 4, "none of 4 real photos scores this high (95 % sure: at most 60 in 100)"),
        (0.1, 1, "all 4 real photos score this high"),
    ],
)
def test_one_in_so_many_scores_this_high(score: float, n: float, words: str) -> None:
    assert one_in(version(0.9, 0.1, 0.5, 0.2), score) == n
    assert odds_in_words(version(0.9, 0.1, 0.5, 0.2), score) == words


@pytest.mark.parametrize(
    ("found", "known", "words"),
    [
        (3, 1006, "about 3 in 1,000 real photos score this high (1 to 9)"),
        (1, 1006, "about 1 in 1,000 real photos score this high (0.03 to 6)"),
        (0, 1006, "none of 1,006 real photos scores this high (95 % sure: at most 4 in 1,000)"),
        (600, 1006, "about 60 in 100 real photos score this high (57 to 63)"),
    ],
)
def test_what_is_known_of_a_rarity_has_its_interval(found: int, known: int, words: str) -> None:
    assert odds_in_words(version(*[0.0] * (known - found), *[1.0] * found), 0.5) == words


def test_big_sets_are_said_with_commas() -> None:
    assert (
        odds_in_words(version(*[0.0] * 1999, 1.0), 0.5) == "about 5 in 10,000 real photos score this high (0.1 to 28)"
    )


def test_without_real_photos_nothing_is_said() -> None:
    bare = ModelVersion(name="m", card={})
    assert one_in(bare, 0.5) is None
    assert odds_in_words(bare, 0.5) is None
