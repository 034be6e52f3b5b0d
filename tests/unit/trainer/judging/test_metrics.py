"""Figures that a detector is judged by, against brute force and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from trainer.judging.metrics import Scores, auc, f1_at, lowest_threshold, rate_at

#: Scores as a detector gives them, as rounding gives them (ties), and as nobody would expect them.
SCORES = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0, 5e-324, float(np.nextafter(0.5, 1))]))
LISTS = st.lists(SCORES, min_size=1, max_size=60)


def array(values: list[float]) -> Scores:
    return np.array(values, dtype=np.float64)


def test_the_lowest_threshold_takes_scores_in_any_order() -> None:
    reals = np.linspace(0, 1, 201)

    assert lowest_threshold(reals[::-1], 0.005) == lowest_threshold(reals, 0.005) == pytest.approx(0.9975)


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
