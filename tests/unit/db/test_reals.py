"""A threshold is chosen and measured on real photos; the trainer chooses the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.errors import DbError
from db.stats.reals import Reals
from db.policy.thresholds import by_fpr, by_value

metrics = pytest.importorskip("trainer.judging.metrics")

EVEN = Reals("even", [number / 1000 for number in range(1000)])


@given(
    scores=st.lists(st.floats(0, 0.999), min_size=10, max_size=300).map(sorted),
    target=st.sampled_from([0.1, 0.25, 0.5]),
)
def test_the_threshold_at_an_fpr_is_the_trainers_and_never_flags_more(scores: list[float], target: float) -> None:
    reals = Reals("reals", scores)
    value = reals.threshold_at(target)
    assert value == metrics.threshold_at_fpr(np.array(scores), target)
    assert reals.measure(value).fpr.value <= target


def test_what_is_measured_names_the_set_and_its_size() -> None:
    measured = EVEN.measure(0.995)
    assert (measured.reference, measured.reals, measured.fpr.value) == ("even", 1000, 0.005)
    assert measured.fpr.low < 0.005 < measured.fpr.high


def test_a_real_that_scores_the_threshold_itself_is_flagged() -> None:
    assert Reals("reals", [0.1, 0.5, 0.5]).measure(0.5).fpr.value == pytest.approx(2 / 3)


@pytest.mark.parametrize(("given_", "fits"), [(599, False), (600, True)])
def test_three_over_the_fpr_reals_are_needed(given_: int, fits: bool) -> None:
    reals = Reals("reals", [number / 1000 for number in range(given_)])
    if fits:
        assert by_fpr(reals, 0.005).measured == reals.measure(reals.threshold_at(0.005))
    else:
        with pytest.raises(DbError, match=r"reference 'reals': an FPR of 0\.005 needs 600 reals, 599 given"):
            by_fpr(reals, 0.005)


def test_force_sets_it_on_fewer_and_says_so() -> None:
    choice = by_fpr(Reals("few", [0.1, 0.2, 0.3]), 0.005, force=True)
    assert choice.forced
    assert choice.measured is not None
    assert choice.measured.fpr.value == 0
    assert choice.measured.fpr.high == pytest.approx(0.708, abs=0.001)


def test_force_on_enough_reals_is_no_force() -> None:
    assert not by_fpr(EVEN, 0.005, force=True).forced


def test_reals_that_all_score_one_have_no_threshold() -> None:
    with pytest.raises(DbError, match=r"no threshold has an FPR of 0\.1, too many score 1"):
        by_fpr(Reals("sure", [1.0] * 100), 0.1)


@pytest.mark.parametrize("target", [0, 1, -0.1, float("nan")])
def test_what_is_no_rate_is_refused(target: float) -> None:
    with pytest.raises(DbError, match="is not between 0 and 1"):
        by_fpr(EVEN, target)


def test_a_threshold_by_value_shows_its_fpr() -> None:
    assert by_value(EVEN, 0.9).measured == EVEN.measure(0.9)
    assert by_value(None, 0.9).measured is None
