"""What has become denser is found, and what has not is not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from db.quality.grown_regions import CHANCE, NEIGHBOURS, grown_regions

RANDOM = np.random.default_rng


def crowd(seed: int, count: int) -> NDArray[np.float32]:
    """Points in three clouds of different widths, as projections are: whole numbers of 8 bits."""
    random = RANDOM(seed)
    centres, widths = RANDOM(99).normal(0, 30, (3, 8)), np.array([8, 16, 32])
    cloud = random.integers(0, 3, count)
    points = centres[cloud] + random.normal(size=(count, 8)) * widths[cloud, None]
    return np.asarray(np.rint(points).clip(-127, 127), np.float32)


def newcomers(count: int) -> NDArray[np.float32]:
    return np.rint(RANDOM(7).normal(20, 4, (count, 8))).astype(np.float32)


def test_a_cluster_that_is_new_is_found_with_its_members() -> None:
    points = np.concatenate([crowd(0, 800), newcomers(40), crowd(1, 1600)])
    recent = np.arange(len(points)) < 840
    (region,) = grown_regions(points, recent)
    new = set(range(800, 840))
    assert len(new & set(region.recent)) > 30
    assert len(new & set(region.recent[:12])) > 9
    assert region.expected < len(region.recent)
    assert region.growth > 5
    assert region.chance <= CHANCE
    assert not recent[list(region.earlier)].any()


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_found_where_nothing_has_changed(seed: int) -> None:
    points = crowd(seed, 2000)
    assert grown_regions(points, RANDOM(seed).random(2000) < 0.3) == []


def test_a_cluster_that_was_always_there_is_not_new() -> None:
    recent_share, both = 0.3, np.concatenate([crowd(0, 2000), newcomers(120)])
    assert grown_regions(both, RANDOM(1).random(len(both)) < recent_share) == []


def test_two_clusters_are_two_regions_the_clearest_first() -> None:
    other = np.rint(RANDOM(8).normal(-60, 4, (25, 8))).astype(np.float32)
    points = np.concatenate([crowd(0, 600), newcomers(60), other, crowd(1, 2000)])
    regions = grown_regions(points, np.arange(len(points)) < 685)
    assert len(regions) == 2
    assert len(set(regions[0].recent[:12]) & set(range(600, 660))) > 9
    assert len(set(regions[1].recent[:12]) & set(range(660, 685))) > 9


@pytest.mark.parametrize("recent", [0, 10, max(NEIGHBOURS) - 1, 300 - max(NEIGHBOURS) + 1, 300])
def test_too_few_points_of_either_kind_say_nothing(recent: int) -> None:
    assert grown_regions(crowd(0, 300), np.arange(300) < recent) == []
