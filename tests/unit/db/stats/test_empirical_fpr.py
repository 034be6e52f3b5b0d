"""A threshold is chosen and measured on real photos, and what follows from it is by Bayes' theorem."""

import math

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from db.errors import DbError
from db.policy.threshold_choice import choose_by_fpr, choose_by_value
from db.stats.empirical_fpr import RealScores, few_reals, positive_predictive_value, smallest_fpr, threshold_at_fpr

#: Scores as a detector gives them, as rounding gives them (ties), and as nobody would expect them.
SCORES = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0, 5e-324, math.nextafter(0.5, 1)]))
LISTS = st.lists(SCORES, min_size=1, max_size=60).map(sorted)
RATES = st.one_of(st.sampled_from([0.005, 0.01, 0.1, 0.3, 0.5, 0.9]), st.floats(0.001, 0.99))

EVEN = RealScores("even", [number / 1000 for number in range(1000)])


def share_at(scores: list[float], threshold: float) -> float:
    return sum(score >= threshold for score in scores) / len(scores)


class TestThreshold:
    @given(scores=LISTS, target=RATES)
    @example(scores=[0.5, math.nextafter(0.5, 1)], target=0.5)  # nothing lies midway between these
    @example(scores=[0.0, 5e-324], target=0.5)
    @example(scores=[1.0, 1.0, 1.0], target=0.5)
    def test_it_never_flags_more_than_the_target_and_a_lower_one_would(
        self, scores: list[float], target: float
    ) -> None:
        threshold = threshold_at_fpr(scores, target)
        kept = [score for score in scores if score < threshold]

        assert share_at(scores, threshold) <= target + 1e-9
        assert kept, "something is always kept"
        assert share_at(scores, max(kept)) > target

    @given(scores=st.lists(st.floats(0, 1, width=16), min_size=2, max_size=60).map(sorted), target=RATES)
    def test_rounding_moves_nobody_across(self, scores: list[float], target: float) -> None:
        threshold = threshold_at_fpr(scores, target)
        flagged = share_at(scores, threshold)
        assume(flagged > 0)

        assert share_at([score + 1e-9 for score in scores], threshold) == flagged
        assert share_at([score - 1e-9 for score in scores], threshold) == flagged

    @pytest.mark.parametrize(
        ("scores", "target", "threshold"),
        [
            ([number / 200 for number in range(201)], 0.005, 0.9975),
            ([number / 10 for number in range(11)], 0.2, 0.85),
            ([0.1, 0.2, 0.8, 0.8], 0.25, math.nextafter(0.8, 1)),
            ([0.1, 0.2, 0.8, 0.8], 0.5, 0.5),
            ([0.1, 0.9], 0.005, math.nextafter(0.9, 1)),  # too few to flag even one
        ],
    )
    def test_it_lies_midway_below_the_last_that_may_be_flagged(
        self, scores: list[float], target: float, threshold: float
    ) -> None:
        assert threshold_at_fpr(scores, target) == pytest.approx(threshold, abs=1e-12)

    @pytest.mark.parametrize(("count", "target"), [(200, 0.005), (10, 0.1), (1000, 0.001), (100, 0.29), (100, 0.57)])
    def test_products_of_rates_and_counts_are_whole_where_they_should_be(self, count: int, target: float) -> None:
        scores = [number / count for number in range(count)]

        assert share_at(scores, threshold_at_fpr(scores, target)) == pytest.approx(target)

    @pytest.mark.parametrize("target", [0.0, 1.0, -0.1, 2.0, float("nan")])
    def test_a_rate_that_is_none_is_refused(self, target: float) -> None:
        with pytest.raises(ValueError, match="is not between 0 and 1"):
            threshold_at_fpr([0.1, 0.2], target)

    def test_no_photos_have_no_threshold(self) -> None:
        with pytest.raises(ValueError, match="no real photos"):
            threshold_at_fpr([], 0.005)


@pytest.mark.parametrize(("n", "fpr"), [(600, 0.005), (3000, 0.001), (2, 1.0)])
def test_the_smallest_fpr_that_can_be_shown_is_three_in_n(n: int, fpr: float) -> None:
    assert smallest_fpr(n) == pytest.approx(fpr)


def test_what_is_measured_names_the_set_and_its_size() -> None:
    measured = EVEN.measure(0.995)
    assert (measured.reference, measured.reals, measured.fpr.value) == ("even", 1000, 0.005)
    assert measured.fpr.low < 0.005 < measured.fpr.high


def test_a_real_that_scores_the_threshold_itself_is_flagged() -> None:
    assert RealScores("reals", [0.1, 0.5, 0.5]).measure(0.5).fpr.value == pytest.approx(2 / 3)


@pytest.mark.parametrize(("given_", "fits"), [(599, False), (600, True)])
def test_three_over_the_fpr_reals_are_needed(given_: int, fits: bool) -> None:
    reals = RealScores("reals", [number / 1000 for number in range(given_)])
    if fits:
        assert choose_by_fpr(reals, 0.005).measured == reals.measure(threshold_at_fpr(reals.scores, 0.005))
    else:
        with pytest.raises(DbError, match=r"reference 'reals': an FPR of 0\.005 needs 600 reals, 599 given"):
            choose_by_fpr(reals, 0.005)


def test_force_sets_it_on_fewer_and_says_so() -> None:
    choice = choose_by_fpr(RealScores("few", [0.1, 0.2, 0.3]), 0.005, force=True)
    assert choice.forced
    assert choice.measured is not None
    assert choice.measured.fpr.value == 0
    assert choice.measured.fpr.high == pytest.approx(0.708, abs=0.001)


def test_force_on_enough_reals_is_no_force() -> None:
    assert not choose_by_fpr(EVEN, 0.005, force=True).forced


def test_reals_that_all_score_one_have_no_threshold() -> None:
    with pytest.raises(DbError, match=r"no threshold has an FPR of 0\.1, too many score 1"):
        choose_by_fpr(RealScores("sure", [1.0] * 100), 0.1)


@pytest.mark.parametrize("target", [0, 1, -0.1, float("nan")])
def test_what_is_no_rate_is_refused(target: float) -> None:
    with pytest.raises(DbError, match="is not between 0 and 1"):
        choose_by_fpr(EVEN, target)


def test_a_threshold_by_value_shows_its_fpr() -> None:
    assert choose_by_value(EVEN, 0.9).measured == EVEN.measure(0.9)
    assert choose_by_value(None, 0.9).measured is None


@pytest.mark.parametrize(
    ("tpr", "prevalence", "expected"),
    [(0.98, 0.001, 0.16), (0.845, 0.01, 0.63), (0.194, 0.01, 0.28), (0.98, 0.05, 0.91), (0.194, 0.05, 0.67)],
)
def test_precision_is_what_was_worked_out_for_the_paper(tpr: float, prevalence: float, expected: float) -> None:
    assert positive_predictive_value(tpr, 0.005, prevalence) == pytest.approx(expected, abs=0.005)


def test_without_flags_none_is_right() -> None:
    assert positive_predictive_value(0, 0, 0.01) == 0


@pytest.mark.parametrize(("reals", "target"), [(600, 0.005), (601, 0.005), (60, 0.05), (3000, 0.001)])
def test_enough_reals_need_no_word(reals: int, target: float) -> None:
    assert few_reals(reals, target) is None


@pytest.mark.parametrize(
    ("reals", "target", "told"),
    [
        (599, 0.005, "599 reals are too few to show an FPR of 0.005, which takes 600: they can show 0.005 at best"),
        (89, 0.005, "89 reals are too few to show an FPR of 0.005, which takes 600: they can show 0.034 at best"),
        (2, 0.05, "2 reals are too few to show an FPR of 0.05, which takes 60: they can show 1 at best"),
    ],
)
def test_too_few_reals_are_told_with_what_it_takes(reals: int, target: float, told: str) -> None:
    assert few_reals(reals, target) == told
