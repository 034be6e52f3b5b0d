"""Intervals hold the true rate as often as they say: by formula, by SciPy, by the paper's figures, by simulation."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from db.stats.intervals import Estimate, beta_quantile, clopper_pearson, order_statistic_fpr, wilson

special = pytest.importorskip("scipy.special")

Interval = Callable[..., Estimate]

#: The normal distribution's quantile at 97.5 %.
Z = 1.959963984540054


def binomial_tail(flagged: int, n: int, rate: float) -> float:
    """The chance of ``flagged`` or more in n tosses, summed term by term."""
    return sum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(flagged, n + 1))


class TestWilson:
    @given(n=st.integers(1, 5000), share=st.floats(0, 1))
    def test_both_limits_lie_z_standard_errors_from_the_measured_rate(self, n: int, share: float) -> None:
        measured = round(share * n) / n

        found = wilson(round(share * n), n)
        for limit in (found.low, found.high):
            assert abs(measured - limit) == pytest.approx(Z * math.sqrt(limit * (1 - limit) / n), abs=1e-9)

    @given(n=st.integers(1, 5000), share=st.floats(0, 1))
    def test_it_holds_the_measured_rate_and_stays_a_rate(self, n: int, share: float) -> None:
        found = wilson(round(share * n), n)

        assert found.value == round(share * n) / n
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.low < found.high

    @pytest.mark.parametrize(("n", "low", "high"), [(13_800, 0.0040, 0.0063), (5_000, 0.0034, 0.0074)])
    def test_half_a_percent_is_what_the_fact_sheet_says(self, n: int, low: float, high: float) -> None:
        found = wilson(n // 200, n)
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.00005)

    def test_more_confidence_is_a_wider_interval(self) -> None:
        usual, sure = wilson(5, 100), wilson(5, 100, 0.99)
        assert sure.low < usual.low < usual.high < sure.high


class TestOrderStatistic:
    @given(
        a=st.floats(0.5, 100_000),
        b=st.floats(0.5, 100_000),
        probability=st.sampled_from([1e-6, 0.0125, 0.025, 0.5, 0.975, 0.9875, 1 - 1e-6]),
    )
    def test_its_beta_quantiles_are_scipys(self, a: float, b: float, probability: float) -> None:
        found = beta_quantile(probability, a, b)

        assert found == pytest.approx(special.betaincinv(a, b, probability), rel=1e-7, abs=1e-12)

    @pytest.mark.parametrize(("flagged", "n"), [(1, 20), (3, 50), (5, 20), (20, 20)])
    def test_the_lower_limit_leaves_a_fortieth_below(self, flagged: int, n: int) -> None:
        low = order_statistic_fpr(flagged, n).low

        # the k-th smallest of n uniform numbers lies below p when k or more of them do
        assert binomial_tail(flagged, n, low) == pytest.approx(0.025, rel=1e-6)

    @pytest.mark.parametrize(("flagged", "n"), [(0, 20), (1, 20), (3, 50), (19, 20)])
    def test_the_upper_limit_leaves_a_fortieth_above(self, flagged: int, n: int) -> None:
        high = order_statistic_fpr(flagged, n).high

        assert 1 - binomial_tail(flagged + 1, n, high) == pytest.approx(0.025, rel=1e-6)

    def test_none_flagged_may_be_none_and_all_flagged_may_be_all(self) -> None:
        none, all_ = order_statistic_fpr(0, 600), order_statistic_fpr(600, 600)

        assert (none.low, none.high) == pytest.approx((0, 1 - 0.025 ** (1 / 600)))
        assert (all_.low, all_.high) == pytest.approx((0.025 ** (1 / 600), 1))

    @pytest.mark.parametrize(("flagged", "n"), [(1, 200), (5, 1000), (10, 100)])
    def test_by_simulation_it_holds_wherever_in_the_gap_the_threshold_lies(self, flagged: int, n: int) -> None:
        found = order_statistic_fpr(flagged, n)
        low, high = found.low, found.high
        last_flagged, first_kept = self.fprs(flagged, n)  # of thresholds at either end of the gap
        midway = (last_flagged + first_kept) / 2

        assert np.mean((midway >= low) & (midway <= high)) > 0.95
        # at the ends of the gap it is exact; one off in k, it would not be
        assert np.mean(last_flagged < low) == pytest.approx(0.025, abs=0.004)
        assert np.mean(first_kept > high) == pytest.approx(0.025, abs=0.004)

    @staticmethod
    def fprs(flagged: int, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """True FPRs of thresholds at the k-th and at the (k+1)-th largest of n reals, in 20,000 experiments.

        Scores are uniform, so that a threshold's FPR is what lies above it.
        """
        scores = np.random.default_rng(0).random((20_000, n), dtype=np.float32)
        scores.partition((n - flagged - 1, n - flagged), axis=1)
        return 1.0 - scores[:, n - flagged].astype(float), 1.0 - scores[:, n - flagged - 1].astype(float)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson, order_statistic_fpr])
class TestAll:
    @pytest.mark.parametrize(("successes", "n"), [(-1, 10), (11, 10), (0, 0)])
    def test_what_is_no_rate_is_refused(self, interval: Interval, successes: int, n: int) -> None:
        with pytest.raises(ValueError, match=f"{successes} of {n} is not a rate"):
            interval(successes, n)

    @pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
    def test_a_confidence_is_a_share(self, interval: Interval, confidence: float) -> None:
        with pytest.raises(ValueError, match="is not between 0 and 1"):
            interval(1, 10, confidence)
