"""A certified threshold keeps its promise: by figures of others, by the binomial itself, and by simulation."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.stats.certification import (
    TooFewRealsError,
    certify,
    certify_cohorts,
    cohort_bounds,
    count_certified,
    next_size,
    reals_to_certify,
)
from db.stats.cohorts import cohort_columns, scores_by_cohort, sort_with_cohorts
from db.stats.empirical_fpr import RealScores, threshold_at_fpr

#: Resamplings of the reference, for the table in deploy/STATISTICS.md.
RESAMPLINGS = 10_000
TARGET = 0.005


def binomial_cdf_by_terms(most: int, n: int, rate: float) -> float:
    return sum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(most + 1))


@pytest.mark.parametrize(
    ("reals", "allowed"), [(597, None), (598, 0), (1006, 1), (2000, 4), (5000, 16), (13_750, 54), (50_000, 223)]
)
def test_at_half_a_percent_as_many_are_allowed_as_was_worked_out(reals: int, allowed: int | None) -> None:
    assert count_certified(TARGET, reals) == allowed


@given(n=st.integers(1, 300), fpr=st.floats(0.001, 0.5), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_it_is_the_largest_count_that_the_binomial_refuses(n: int, fpr: float, confidence: float) -> None:
    found = count_certified(fpr, n, confidence)
    if found is not None:
        assert binomial_cdf_by_terms(found, n, fpr) <= 1 - confidence + 1e-9
    assert binomial_cdf_by_terms((-1 if found is None else found) + 1, n, fpr) > 1 - confidence - 1e-9


@given(fpr=st.floats(0.0005, 0.5), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_as_many_reals_as_are_needed_certify_and_one_fewer_does_not(fpr: float, confidence: float) -> None:
    needed = reals_to_certify(fpr, confidence)
    assert count_certified(fpr, needed, confidence) is not None
    assert needed == 1 or count_certified(fpr, needed - 1, confidence) is None


@given(scores=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.9, 0.9000001, 0.99]), min_size=60, max_size=200))
def test_no_more_than_allowed_are_flagged_also_where_scores_are_equal(scores: list[float]) -> None:
    found = certify(RealScores("reals", sorted(scores)), 0.05)
    assert sum(score >= found.threshold for score in scores) <= found.allowed
    assert found.bound <= 0.05


def test_too_few_reals_are_told_how_many_are_needed() -> None:
    with pytest.raises(TooFewRealsError, match="598 reals, 500 given") as caught:
        certify(RealScores("few", [0.1] * 500), TARGET)
    assert caught.value.needed == 598


@pytest.mark.parametrize(("fpr", "confidence"), [(0.0, 0.95), (1.0, 0.95), (0.1, 0.0), (0.1, 1.0), (math.nan, 0.9)])
def test_what_is_no_share_is_refused(fpr: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        count_certified(fpr, 1000, confidence)


@pytest.mark.parametrize(("reals", "more"), [(50, 200), (1006, 2000), (2000, 5000), (7000, 10_000), (10_000, 20_000)])
def test_the_next_size_is_a_round_number(reals: int, more: int) -> None:
    assert next_size(reals) == more


def test_cohorts_are_columns_with_a_few_values() -> None:
    rows = [{"id": str(n), "same": "x", "camera": "a" if n % 3 else "", "label": str(n % 2)} for n in range(10)]
    assert cohort_columns(rows, leave_out=["label"]) == ["camera"]
    ascending, kept = sort_with_cohorts([(n * 7 % 10) / 10 for n in range(10)], rows, ["camera"])
    found = scores_by_cohort(ascending, kept)
    assert {cohort: len(scores) for cohort, scores in found.items()} == {
        ("camera", "a"): 6,
        ("camera", "(not given)"): 4,
    }
    assert found["camera", "a"] == sorted((n * 7 % 10) / 10 for n in range(10) if n % 3)


def overruns(reals: int, rng: np.random.Generator) -> tuple[float, float]:
    """How often the true FPR of a threshold exceeds its target, empirical and certified.

    Scores are uniform, so that the true FPR of a threshold is what lies above it; the rules only see their order.
    """
    allowed, empirical = count_certified(TARGET, reals), math.floor(TARGET * reals)
    assert allowed is not None
    scores = rng.random((RESAMPLINGS, reals), dtype=np.float32)
    scores.partition((reals - 1 - empirical, reals - 1 - allowed), axis=1)
    kept, last = scores[:, reals - 1 - allowed], scores[:, reals - 1 - empirical :]
    midway = (last[:, 0] + last[:, 1:].min(axis=1, initial=1)) / 2
    return float(np.mean(1 - midway > TARGET)), float(np.mean(1 - kept > TARGET))


@pytest.mark.slow
def test_ten_thousand_resamplings_overrun_a_certified_rate_at_most_as_often_as_agreed() -> None:
    rng, rows = np.random.default_rng(1), {}
    for reals in (598, 1006, 2000, 5000):
        rows[reals] = overruns(reals, rng)
    for empirical, certified in rows.values():
        assert certified <= 0.05 + 0.0065  # three standard errors of 10,000 trials
        assert 0.25 < empirical < 0.7


@pytest.mark.slow
def test_ten_thousand_resamplings_of_scores_overrun_neither_as_a_whole_nor_in_any_cohort() -> None:
    """Through `certify` itself, on scores of two cohorts, one of which scores higher."""
    rng = np.random.default_rng(2)
    target, wrong = 0.05, {"empirical": 0, "certified": 0, "by_cohort": 0, "bounds": 0}
    truth: dict[tuple[str, str], Callable[[float], float]] = {
        ("c", "a"): lambda t: 1 - t ** (1 / 3),  # cubes of uniform scores
        ("c", "b"): lambda t: 1 - t,
    }
    for _ in range(RESAMPLINGS):
        a, b = np.sort(rng.random(160) ** 3).tolist(), np.sort(rng.random(120)).tolist()
        reals = RealScores("reals", sorted(a + b), {("c", "a"): a, ("c", "b"): b})
        found, each = certify(reals, target), certify_cohorts(reals, target)

        def whole(t: float) -> float:
            return float(160 * truth["c", "a"](t) + 120 * truth["c", "b"](t)) / 280

        wrong["empirical"] += whole(threshold_at_fpr(reals.scores, target)) > target
        wrong["certified"] += whole(found.threshold) > target
        wrong["by_cohort"] += any(fpr(min(1.0, each.threshold)) > target for fpr in truth.values())
        rows = cohort_bounds(reals, found.threshold)
        wrong["bounds"] += any(truth[row.column, row.value](min(1.0, found.threshold)) > row.bound for row in rows)
    rates = {name: count / RESAMPLINGS for name, count in wrong.items()}
    assert rates["empirical"] > 0.3
    assert max(rates["certified"], rates["by_cohort"], rates["bounds"]) <= 0.05
