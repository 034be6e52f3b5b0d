"""A photo near a threshold is judged by several deliveries of it: flags are only ever taken away."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.stats.stability import BAND_SHARE, PLAIN_WIDTH, Stability, judge, score_band

SCORES = st.floats(0.0, 1.0)


def log_odds(score: float) -> float:
    return math.log(score / (1 - score))


@pytest.mark.parametrize(
    ("score", "others", "judged"),
    [
        (0.9, [0.8, 0.95], "flagged"),
        (0.8, [0.8, 0.8], "flagged"),  # at the threshold flags, as everywhere
        (0.9, [0.79, 0.95], "unstable"),
        (0.79, [0.7, 0.81], "unstable"),
        (0.79, [0.7, 0.75], "clear"),
    ],
)
def test_all_deliveries_must_reach_the_threshold_for_a_flag(score: float, others: list[float], judged: str) -> None:
    assert Stability.of(score, others, 1).judge(0.8) == judged


@given(SCORES, st.lists(SCORES, min_size=1, max_size=8), SCORES)
def test_what_is_flagged_reaches_the_threshold_by_its_own_score(
    score: float, others: list[float], threshold: float
) -> None:
    """So the certificate of the threshold holds for the flags that are left."""
    if judge(score, Stability.of(score, others, 1), threshold) == "flagged":
        assert judge(score, None, threshold) == "flagged"


def test_the_band_holds_its_share_of_the_reference_and_is_as_wide_on_both_sides() -> None:
    reals = [1 / (1 + math.exp(-number / 100)) for number in range(-800, 200)]
    band = score_band(0.7, reals)
    assert sum(score in band for score in reals) == BAND_SHARE * len(reals)
    assert log_odds(0.7) - log_odds(band.low) == pytest.approx(log_odds(band.high) - log_odds(0.7))


@given(st.lists(SCORES, min_size=1, max_size=300), SCORES)
def test_any_reference_gives_a_band_round_the_threshold(reals: list[float], threshold: float) -> None:
    band = score_band(threshold, reals)
    assert 0 <= band.low <= band.high <= 1
    assert band.low <= threshold + 1e-9
    assert band.high >= threshold - 1e-9


def test_without_a_reference_the_band_has_a_plain_width() -> None:
    band = score_band(0.5, [])
    assert log_odds(band.low) == pytest.approx(-PLAIN_WIDTH)
    assert log_odds(band.high) == pytest.approx(PLAIN_WIDTH)
