"""Intervals are the ones that SciPy and the trainer compute, without either."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.stats.intervals import beta_quantile, order_statistic_fpr, wilson

trainer = pytest.importorskip("trainer.judging.intervals")
special = pytest.importorskip("scipy.special")


@given(
    a=st.floats(0.5, 100_000),
    b=st.floats(0.5, 100_000),
    probability=st.sampled_from([1e-6, 0.0125, 0.025, 0.5, 0.975, 0.9875, 1 - 1e-6]),
)
def test_beta_quantiles_are_scipys(a: float, b: float, probability: float) -> None:
    assert beta_quantile(probability, a, b) == pytest.approx(special.betaincinv(a, b, probability), rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 600, 1006, 13_750, 100_000])
@pytest.mark.parametrize("share", [0, 0.001, 0.005, 0.5, 1])
def test_intervals_of_rates_are_the_trainers(n: int, share: float) -> None:
    flagged = round(n * share)
    for ours, theirs in ((wilson, trainer.wilson), (order_statistic_fpr, trainer.order_statistic_fpr)):
        found = ours(flagged, n)
        assert found.value == flagged / n
        assert (found.low, found.high) == pytest.approx(theirs(flagged, n), rel=1e-8, abs=1e-14)


def test_other_confidences_are_the_trainers_too() -> None:
    found = order_statistic_fpr(5, 1006, 0.975)
    assert (found.low, found.high) == pytest.approx(trainer.order_statistic_fpr(5, 1006, 0.975), rel=1e-8)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (2, 1), (-1, 5)])
def test_what_is_no_rate_has_no_interval(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{successes} of {n} is no rate"):
        wilson(successes, n)
    with pytest.raises(ValueError, match=f"{successes} of {n} is no rate"):
        order_statistic_fpr(successes, n)
