"""Rates over strata hold what they promise: of a hundred intervals ninety-five have the truth in them."""

import math

import numpy as np
import pytest

from db.stats.intervals import Estimate, wilson
from db.stats.stratified import Stratum, fakes_in, reals_in, share

stats = pytest.importorskip("scipy.stats")

ROUNDS = 2000
#: Of 2,000 rounds 93 % are four standard deviations below 95 %.
COVERED = 0.93


def inside(estimate: Estimate | None, truth: float) -> bool:
    return estimate is not None and estimate.low - 1e-12 <= truth <= estimate.high + 1e-12


def limits(estimate: Estimate | None) -> tuple[float, float, float]:
    assert estimate is not None
    return estimate.value, estimate.low, estimate.high


@pytest.mark.parametrize(
    ("populations", "fakes", "judged"),
    [
        ((500, 5000, 94_500), (400, 150, 60), (50, 50, 100)),  # many are found, and some are missed
        ((500, 5000, 94_500), (480, 20, 0), (50, 100, 300)),  # hardly any is missed
        ((40, 400, 7560), (20, 10, 5), (40, 50, 100)),  # a small week: all that was flagged is judged
        ((500, 5000, 94_500), (100, 400, 900), (100, 200, 500)),  # a bad model
    ],
)
def test_known_truths_lie_within(populations: tuple[int, ...], fakes: tuple[int, ...], judged: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    flagged_fakes, flagged = fakes[0], populations[0]
    truths = {
        "precision": flagged_fakes / flagged,
        "fpr": (flagged - flagged_fakes) / (sum(populations) - sum(fakes)),
        "miss": sum(fakes[1:]) / sum(fakes),
    }
    hits = dict.fromkeys(truths, 0)
    sums = dict.fromkeys(truths, 0.0)
    for _ in range(ROUNDS):
        found = [random.hypergeometric(f, n - f, k) for f, n, k in zip(fakes, populations, judged, strict=True)]
        strata = [Stratum(*each) for each in zip(populations, judged, map(int, found), strict=True)]
        estimates = {
            "precision": fakes_in(strata[:1]).times(1 / flagged),
            "fpr": share(reals_in(strata[:1]), reals_in(strata[1:])),
            "miss": share(fakes_in(strata[1:]), fakes_in(strata[:1])),
        }
        for name, estimate in estimates.items():
            hits[name] += inside(estimate, truths[name])
            sums[name] += estimate.value if estimate is not None else math.nan
    assert {name: count / ROUNDS >= COVERED for name, count in hits.items()} == dict.fromkeys(truths, True), hits
    assert sums["precision"] / ROUNDS == pytest.approx(truths["precision"], rel=0.02)
    assert sums["fpr"] / ROUNDS == pytest.approx(truths["fpr"], rel=0.05)


def test_one_stratum_of_many_is_wilsons_own_interval() -> None:
    one = fakes_in([Stratum(10**9, 200, 30)]).times(1e-9)
    expected = stats.binomtest(30, 200).proportion_ci(method="wilson")
    assert (one.value, one.low, one.high) == pytest.approx((0.15, expected.low, expected.high), rel=1e-6)


def test_what_was_judged_whole_is_known() -> None:
    assert fakes_in([Stratum(20, 20, 5)]) == Estimate(5, 5, 5)
    assert limits(share(Estimate(5, 5, 5), Estimate(15, 15, 15))) == pytest.approx((0.25, 0.25, 0.25))
    assert share(Estimate(5, 5, 5), Estimate(0, 0, 0)) == Estimate(1, 1, 1)
    assert share(Estimate(0, 0, 0), Estimate(5, 5, 5)) == Estimate(0, 0, 0)
    assert share(Estimate(0, 0, 0), Estimate(0, 0, 0)) is None


def test_a_stratum_in_which_nothing_was_found_may_still_hide_something() -> None:
    hidden = fakes_in([Stratum(100_000, 300, 0)])
    assert (hidden.value, hidden.low) == (0, 0)
    assert hidden.high == pytest.approx(100_000 * wilson(0, 300).high, rel=0.01)
    found = share(hidden, Estimate(100, 90, 110))
    assert limits(found) == pytest.approx((0, 0, hidden.high / (hidden.high + 99.5)), rel=0.01)


def test_empty_strata_add_nothing() -> None:
    assert fakes_in([Stratum(20, 20, 5), Stratum(0, 0, 0)]) == fakes_in([Stratum(20, 20, 5)])
    assert fakes_in([]) == Estimate(0, 0, 0)


def test_a_ratios_limits_change_places_when_it_is_turned_upside_down() -> None:
    part, rest = Estimate(30, 20, 45), Estimate(70, 55, 80)
    one, other = share(part, rest), share(rest, part)
    assert one is not None
    assert other is not None
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low))
