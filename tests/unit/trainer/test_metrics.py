"""Figures that a detector is judged by, against brute force and scikit-learn."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from trainer.judging.metrics import Scores, auc, f1_at, rate_at, threshold_at_fpr

#: Scores as a detector gives them, as rounding gives them (ties), and as nobody would expect them.
SCORES = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0, 5e-324, float(np.nextafter(0.5, 1))]))
LISTS = st.lists(SCORES, min_size=1, max_size=60)
RATES = st.one_of(st.sampled_from([0.005, 0.01, 0.1, 0.3, 0.5, 0.9]), st.floats(0.001, 0.99))


def array(values: list[float]) -> Scores:
    return np.array(values, dtype=np.float64)


class TestThreshold:
    @given(scores=LISTS, target=RATES)
    @example(scores=[0.5, float(np.nextafter(0.5, 1))], target=0.5)  # nothing lies midway between these
    @example(scores=[0.0, 5e-324], target=0.5)
    @example(scores=[1.0, 1.0, 1.0], target=0.5)
    def test_it_never_flags_more_than_the_target_and_a_lower_one_would(
        self, scores: list[float], target: float
    ) -> None:
        reals = array(scores)
        if target * len(reals) < 1 - 1e-9:
            with pytest.raises(ValueError, match="reals"):
                threshold_at_fpr(reals, target)
            return

        threshold = threshold_at_fpr(reals, target)
        kept = reals[reals < threshold]

        assert rate_at(reals, threshold) <= target + 1e-9
        assert len(kept), "something is always kept"
        assert rate_at(reals, float(kept.max())) > target

    @given(scores=st.lists(st.floats(0, 1, width=16), min_size=2, max_size=60), target=RATES)
    def test_rounding_moves_nobody_across(self, scores: list[float], target: float) -> None:
        reals = array(scores)
        assume(target * len(reals) >= 1)
        threshold = threshold_at_fpr(reals, target)
        assume(rate_at(reals, threshold) > 0)

        assert rate_at(reals + 1e-9, threshold) == rate_at(reals, threshold) == rate_at(reals - 1e-9, threshold)

    @pytest.mark.parametrize(
        ("reals", "target", "threshold"),
        [
            (np.linspace(0, 1, 201), 0.005, 0.9975),
            (np.linspace(0, 1, 11), 0.2, 0.85),
            (np.array([0.1, 0.2, 0.8, 0.8]), 0.25, np.nextafter(0.8, 1)),
            (np.array([0.1, 0.2, 0.8, 0.8]), 0.5, 0.5),
        ],
    )
    def test_it_lies_midway_below_the_last_that_may_be_flagged(
        self, reals: Scores, target: float, threshold: float
    ) -> None:
        assert threshold_at_fpr(reals, target) == pytest.approx(threshold, abs=1e-12)
        assert threshold_at_fpr(reals[::-1], target) == threshold_at_fpr(reals, target)

    @pytest.mark.parametrize(
        ("count", "target", "needed"), [(199, 0.005, 200), (0, 0.005, 200), (9, 0.1, 10), (2, 0.3, 4)]
    )
    def test_too_few_reals_are_a_clear_error(self, count: int, target: float, needed: int) -> None:
        with pytest.raises(ValueError, match=f"an FPR of {target:g} needs {needed} reals, {count} given"):
            threshold_at_fpr(np.linspace(0, 1, count), target)

    @pytest.mark.parametrize(("count", "target"), [(200, 0.005), (10, 0.1), (1000, 0.001), (100, 0.29), (100, 0.57)])
    def test_just_enough_reals_are_enough(self, count: int, target: float) -> None:
        reals = np.linspace(0, 1, count)

        assert rate_at(reals, threshold_at_fpr(reals, target)) == pytest.approx(target)

    @pytest.mark.parametrize("target", [0.0, 1.0, -0.1, 2.0, float("nan")])
    def test_a_rate_that_is_none_is_refused(self, target: float) -> None:
        with pytest.raises(ValueError, match="is not between 0 and 1"):
            threshold_at_fpr(np.linspace(0, 1, 100), target)


class TestRates:
    @given(scores=LISTS, threshold=SCORES)
    def test_what_is_at_or_above_the_threshold_is_flagged(self, scores: list[float], threshold: float) -> None:
        flagged = sum(score >= threshold for score in scores)

        assert rate_at(array(scores), threshold) == pytest.approx(flagged / len(scores))

    @given(pairs=st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=60), threshold=SCORES)
    def test_f1_is_scikit_learns_where_there_are_as_many_reals_as_fakes(
        self, pairs: list[tuple[float, float]], threshold: float
    ) -> None:
        reals, fakes = array([real for real, _ in pairs]), array([fake for _, fake in pairs])
        labels = [0] * len(pairs) + [1] * len(pairs)
        flagged = np.concatenate([reals, fakes]) >= threshold

        assert f1_at(reals, fakes, threshold) == pytest.approx(f1_score(labels, flagged, zero_division=0))

    @pytest.mark.parametrize(("tpr", "f1"), [(1.0, 0.998), (0.98, 0.987), (0.845, 0.914), (0.0, 0.0)])
    def test_f1_is_the_papers_at_its_rates(self, tpr: float, f1: float) -> None:
        fakes = (np.arange(1000) < round(tpr * 1000)).astype(np.float64)
        reals = (np.arange(13_800) < 69).astype(np.float64)  # an FPR of 0.5 %, with more reals than fakes

        assert f1_at(reals, fakes, 0.5) == pytest.approx(f1, abs=0.0006)

    @given(reals=LISTS, fakes=LISTS)
    def test_auc_is_the_chance_that_a_fake_scores_above_a_real(self, reals: list[float], fakes: list[float]) -> None:
        wins = np.mean([(fake > real) + (fake == real) / 2 for real in reals for fake in fakes])

        assert auc(array(reals), array(fakes)) == pytest.approx(wins)
