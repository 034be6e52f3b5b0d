"""From scores and decisions to chances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from db.stats.calibration import calibrate, isotonic, prior_chance

numbers = st.floats(0, 1)


@settings(deadline=None)  # scikit-learn takes its time at the first call
@given(st.lists(st.tuples(numbers, st.floats(0.5, 20)), min_size=1, max_size=30))
def test_pooling_gives_what_scikit_learn_gives(rows: list[tuple[float, float]]) -> None:
    values, weights = zip(*rows, strict=True)
    theirs = IsotonicRegression().fit_transform(np.arange(len(values)), values, sample_weight=weights)
    assert isotonic(values, weights) == pytest.approx(theirs.tolist(), abs=1e-6)


@given(st.lists(st.tuples(numbers, st.booleans()), max_size=200), numbers, numbers)
def test_chances_never_fall_as_scores_rise(decided: list[tuple[float, bool]], one: float, other: float) -> None:
    found = calibrate(decided, lambda score: 0.1 + 0.8 * score)
    low, high = sorted((one, other))
    assert 0 <= found.chance(low) <= found.chance(high) + 1e-9 <= 1 + 1e-9


def test_without_decisions_it_is_bayes_rule_with_the_reference_reals() -> None:
    assert calibrate([], lambda _: 0.25).chance(0.9) == 0.25
    # 1 in 100 photos is AI-generated, and 1 in 1,000 real ones scores this high: 10 of 11 are AI-generated, about.
    assert prior_chance(0.01, 0, 999) == pytest.approx(0.01 / (0.01 + 0.99 * 0.001))
    assert prior_chance(0.01, 999, 999) == pytest.approx(0.01)


def test_decisions_move_the_chance_away_from_the_prior() -> None:
    decided = [(0.6, False)] * 100 + [(0.9, True)] * 100
    found = calibrate(decided, lambda _: 0.5)
    assert [found.chance(0.6), found.chance(0.95)] == pytest.approx([0.1, 0.9], abs=0.15)
