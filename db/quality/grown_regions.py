"""Where points have become denser: regions of a space that hold more of the recent points than chance explains.

Among the k nearest neighbours of a recent point, as many are recent as among all points, if both windows are drawn from
one distribution: the two-sample test by nearest neighbours (Schilling, "Multivariate two-sample tests based on nearest
neighbors", JASA 81, 1986), asked at each point by itself (Cazals and Lhéritier, "Beyond two-sample-tests: localizing
data discrepancies in high-dimensional spaces", IEEE DSAA 2015). Given the points, their windows are exchangeable: the
number of recent neighbours is hypergeometric, whose upper tail the binomial bounds (Hoeffding, JASA 58, 1963). Each
point's probability is multiplied by the number of points and of values of k (Bonferroni), as neighbours depend on each
other. Since k is small, only regions that have become several times as dense can be found, however many points there
are: small shifts of the population cause no alarm.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from db.stats.intervals import binomial_cdf

#: Neighbours that are asked: few find small dense regions, more find wide ones.
NEIGHBOURS = (20, 60)
#: Regions are told that chance makes once in so many looks, whatever the number of points.
CHANCE = 0.01
#: Recent points at which the question is asked; among all points, at those drawn at random.
ASKED = 2000
_BLOCK = 64

Points = NDArray[np.float32]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class GrownRegion:
    """A region that has become denser: the places of its recent and its earlier points.

    Recent ones come in order of their distance from the point with the least ``chance``, which bounds how many such
    regions one look finds where nothing has changed. ``growth`` is by what factor recent points are denser around that
    point, as measured on the neighbours that found the region: therefore rather too high. ``expected`` recent points
    the region would have if it had not grown.
    """

    recent: tuple[int, ...]
    earlier: tuple[int, ...]
    growth: float
    expected: float
    chance: float


def grown_regions(points: Points, recent: NDArray[np.bool_], seed: int = 0) -> list[GrownRegion]:
    """The regions that have grown among (n, D) points, the least chance first; ``recent`` are (n,).

    Empty where there are fewer points of either kind than the most neighbours asked.
    """
    if min(int(recent.sum()), int((~recent).sum())) < max(NEIGHBOURS):
        return []
    order = np.random.default_rng(seed).permutation(len(points))  # so that equal distances favour neither window
    points, recent = points[order].astype(np.float32), recent[order]
    asked = np.flatnonzero(recent)[:ASKED]
    nearest = np.concatenate(list(_nearest(points, asked)))
    least, reach = _chances(recent, nearest)
    found = np.flatnonzero(least <= CHANCE)
    balls = [np.append(asked[place], nearest[place, : reach[place]]) for place in found]
    regions = []
    for group in _joined(balls):
        strongest_first = sorted(group, key=lambda one: least[found[one]])
        chance = float(least[found[strongest_first[0]]])
        regions.append(_region(points, recent, [balls[one] for one in strongest_first], chance, order))
    return sorted(regions, key=lambda region: region.chance)


def _nearest(points: Points, asked: Places) -> Iterator[Places]:
    """(b, k) places of the nearest neighbours of each asked point, the nearest first, block by block."""
    squares = np.einsum("nd,nd->n", points, points)
    most = max(NEIGHBOURS)
    for start in range(0, len(asked), _BLOCK):
        block = asked[start : start + _BLOCK]
        distances = squares - 2 * points[block] @ points.T  # and a constant for each row
        distances[np.arange(len(block)), block] = np.inf
        near = np.argpartition(distances, most - 1, axis=1)[:, :most]
        yield np.take_along_axis(near, np.argsort(np.take_along_axis(distances, near, 1), axis=1), 1)


def _chances(recent: NDArray[np.bool_], nearest: Places) -> tuple[NDArray[np.float64], Places]:
    """For each asked point the least bound on the chance of as many recent neighbours, and the k that gave it."""
    share = (int(recent.sum()) - 1) / (len(recent) - 1)
    tests = len(nearest) * len(NEIGHBOURS)
    bounds = []
    for count in NEIGHBOURS:
        # P(X >= x) of a binomial is P(Y <= count - x) of its complement, without the loss of digits of 1 - P.
        tails = np.array([1.0] + [binomial_cdf(count - x, count, 1 - share) for x in range(1, count + 1)])
        bounds.append(tails[recent[nearest[:, :count]].sum(axis=1)] * tests)
    return np.min(bounds, axis=0), np.array(NEIGHBOURS)[np.argmin(bounds, axis=0)]


def _joined(balls: list[Places]) -> list[list[int]]:
    """Groups of balls that are connected by common points."""
    group = list(range(len(balls)))

    def root(one: int) -> int:
        while group[one] != one:
            one = group[one]
        return one

    owner: dict[int, int] = {}
    for one, ball in enumerate(balls):
        for point in ball.tolist():
            group[root(one)] = root(owner.setdefault(point, one))
    found: dict[int, list[int]] = {}
    for one in range(len(balls)):
        found.setdefault(root(one), []).append(one)
    return list(found.values())


def _region(
    points: Points, recent: NDArray[np.bool_], balls: list[Places], chance: float, order: Places
) -> GrownRegion:
    """The region of these balls, the strongest first."""
    members = np.unique(np.concatenate(balls))
    away = ((points[members] - points[balls[0][0]]) ** 2).sum(axis=1)
    members = members[np.argsort(away, kind="stable")]
    now, before = members[recent[members]], members[~recent[members]]
    odds = float(recent.sum() / (~recent).sum())
    core = int(recent[balls[0]].sum())
    growth = core / max(len(balls[0]) - core, 0.5) / odds
    return GrownRegion(tuple(order[now].tolist()), tuple(order[before].tolist()), growth, len(before) * odds, chance)
