"""A score stands on a scale of how few real photos score as high; ages and scores are said so that nobody is misled."""

import pytest

from db.console.views import formatting
from db.console.views.score_scale import score_scale
from db.stats.empirical_fpr import RealScores

#: A thousand real photos: n of them score n / 1000 or more below 1.
REALS = [number / 1000 for number in range(1000)]


def reals(scores: list[float]) -> RealScores | None:
    return RealScores("reals", scores) if scores else None


def test_a_tenth_as_many_real_photos_is_a_step_of_the_same_length() -> None:
    found = score_scale(reals(REALS), score=0.99, threshold=0.9)
    assert [found.threshold, found.score] == pytest.approx([33.3, 66.7])
    assert [(tick.at, tick.text) for tick in found.ticks] == [
        (0.0, "all"),
        (pytest.approx(33.3), "1 in 10"),
        (pytest.approx(66.7), "1 in 100"),
        (100.0, "1 in 1,000"),
    ]
    assert (
        found.words == "1 in 100 real photos looks like this (10 of the 1,000 of 'reals'; 95 % sure: at most 1 in 59)"
    )


def test_a_score_above_every_real_photo_stands_at_the_end_and_claims_no_more() -> None:
    found = score_scale(reals(REALS), score=0.9999, threshold=0.5)
    assert found.score == 100.0
    assert found.words == "fewer than 1 in 334 real photos looks like this (95 % sure; none of the 1,000 of 'reals')"


@pytest.mark.parametrize("scores", [[], [0.5]])
def test_without_real_photos_to_compare_with_the_scale_is_the_scores_own(scores: list[float]) -> None:
    found = score_scale(reals(scores), score=0.25, threshold=0.5)
    assert (found.score, found.threshold, found.words) == (25.0, 50.0, None)


@pytest.mark.parametrize(("value", "said"), [(0.5, "0.5000"), (0.99999, "0.9999"), (1.0, "1.0000"), (0.0, "0.0000")])
def test_no_score_is_rounded_up_to_a_certainty(value: float, said: str) -> None:
    assert formatting.format_score(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, "none"), (3, "under 1 min"), (60, "1 min"), (7300, "2 h"), (200_000, "2 d")]
)
def test_ages_are_said_in_their_largest_unit(seconds: float | None, said: str) -> None:
    assert formatting.format_duration(seconds) == said
