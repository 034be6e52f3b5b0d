"""Distances between histograms, checked against SciPy and by hand."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy import special, stats  # type: ignore[import-untyped]  # SciPy carries no types

from db.stats.drift_statistics import distance, grouped, kolmogorov, ks, psi


def counts(seed: int, shift: float, size: int = 2000) -> Counter[int]:
    values = np.random.default_rng(seed).normal(shift, 1, size)
    return Counter((values * 100).round().astype(int).tolist())


def listed(histogram: Counter[int]) -> list[int]:
    return [number for number, count in histogram.items() for _ in range(count)]


@pytest.mark.parametrize("x", [0.21, 0.5, 0.8276, 1.0, 1.36, 2.0, 5.0])
def test_the_chance_of_a_gap_is_kolmogorovs_as_scipy_has_it(x: float) -> None:
    assert kolmogorov(x) == pytest.approx(special.kolmogorov(x), abs=1e-12)


def test_a_gap_that_is_none_is_what_chance_makes() -> None:
    assert kolmogorov(0.0) == 1.0
    assert special.kolmogorov(0.2) == pytest.approx(1.0, abs=1e-11), "where ours begins to say 1"


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.3])
def test_the_gap_and_its_chance_are_scipys(shift: float) -> None:
    one, other = counts(1, 0), counts(2, shift, 1500)
    expected = stats.ks_2samp(listed(one), listed(other), method="asymp")
    found = distance(one, other)
    assert found.ks == pytest.approx(expected.statistic, abs=1e-12)
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.15, abs=1e-9)


def test_the_index_is_both_divergences_of_kullback_and_leibler_together() -> None:
    pairs = [(100, 300), (400, 200), (500, 500)]
    p, q = ([(side + 0.5) for side in sides] for sides in zip(*pairs, strict=True))
    assert psi(pairs) == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p))


def test_the_index_of_equal_shares_is_nothing_and_of_an_empty_group_is_finite() -> None:
    assert psi([(100, 100), (200, 200)]) == 0
    assert 1 < psi([(100, 0), (0, 100)]) < math.inf


def test_groups_hold_a_tenth_of_the_reference_each_and_nothing_is_left_out() -> None:
    pairs = [(number % 7, 1) for number in range(1000)]
    n = sum(one for one, _ in pairs)
    found = grouped(pairs, n)
    assert len(found) == 10
    assert all(one == pytest.approx(n / 10, rel=0.05) for one, _ in found)
    assert (sum(one for one, _ in found), sum(other for _, other in found)) == (n, 1000)


def test_a_bin_that_holds_most_is_a_group_and_those_after_it_are_no_smaller_than_others() -> None:
    assert grouped([(60, 6), (5, 1), (5, 1), (5, 1), (25, 3)], 100) == [(60, 6), (10, 2), (30, 4)]


def test_what_lies_above_all_of_the_reference_is_in_the_last_group() -> None:
    assert grouped([(100, 0), (0, 50)], 100) == [(100, 50)]


@pytest.mark.parametrize(
    ("shift", "size", "level"),
    [(0.0, 2000, "stable"), (0.4, 2000, "watch"), (1.0, 2000, "alarm"), (3.0, 99, "few"), (0.05, 150, "stable")],
)
def test_the_level_is_that_of_a_change_which_chance_would_not_make(shift: float, size: int, level: str) -> None:
    assert distance(counts(1, 0), counts(2, shift, size)).level == level


def test_what_chance_makes_of_few_photos_is_no_change_however_high_the_index() -> None:
    uneven = {number: 16 if number % 2 else 6 for number in range(10)}
    found = distance(dict.fromkeys(range(10), 1000), uneven)
    assert found.psi > 0.2
    assert (found.p_value > 0.5, found.level) == (True, "stable")


def test_the_gap_is_looked_for_everywhere() -> None:
    assert ks([(10, 0), (0, 10), (10, 10)], 20, 20) == 0.5
