"""The geometry of small plots, in per cent of their width and pixels from their top; templates draw the SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from db.console.views import formatting
from db.review.effective_reviews import DECISION_WORDS
from db.stats.intervals import Estimate

#: The height of bars and points in pixels; the template adds room for words below.
HEIGHT = 120
_GAP = 0.25
_SMALLEST = 1.0


@dataclass(frozen=True, slots=True)
class BarSegment:
    """One part of a stacked bar: its kind, the distance of its top from the plot's top, and its height."""

    kind: str
    top: float
    height: float


@dataclass(frozen=True, slots=True)
class PlotBar:
    """A stacked bar: its left edge and width, its segments from the bottom, its sum, and its label.

    ``name``: what stands below it where there are few.
    """

    left: float
    width: float
    segments: list[BarSegment]
    total: int
    name: str
    label: str

    @property
    def middle(self) -> float:
        """Its middle, in per cent of the plot's width."""
        return round(self.left + self.width / 2, 2)

    @property
    def top(self) -> float:
        """Where its highest segment begins."""
        return min((segment.top for segment in self.segments), default=float(HEIGHT))


@dataclass(frozen=True, slots=True)
class PlotPoint:
    """An estimate with the ends of its interval, and its label; ``name``: what stands below it where there are few."""

    at: float
    value: float
    low: float
    high: float
    name: str
    label: str


def bar_plot(rows: Sequence[tuple[str, dict[str, int]]]) -> tuple[list[PlotBar], int]:
    """A stacked bar for each (label, counts), and the sum of the highest bar, which is as high as the plot."""
    most = max((sum(counts.values()) for _, counts in rows), default=0)
    width = 100 / max(1, len(rows))
    return [_bar(number * width, width, label, counts, most) for number, (label, counts) in enumerate(rows)], most


def _bar(left: float, width: float, label: str, counts: dict[str, int], most: int) -> PlotBar:
    segments, top = [], float(HEIGHT)
    for kind, count in counts.items():
        if count:
            height = max(_SMALLEST, HEIGHT * count / most)
            top -= height
            segments.append(BarSegment(kind, round(max(0.0, top), 1), round(height, 1)))
    named = ", ".join(f"{count:,} {DECISION_WORDS.get(kind, kind)}" for kind, count in counts.items() if count)
    gap = width * _GAP / 2
    said = f"{label}: {named or 'none'}"
    return PlotBar(round(left + gap, 2), round(width - 2 * gap, 2), segments, sum(counts.values()), label, said)


def point_plot(rows: Sequence[tuple[str, Estimate | None]], top: float) -> list[PlotPoint]:
    """A point for each (label, estimate) that has an estimate, on an axis from 0 at the bottom to ``top``."""
    width = 100 / max(1, len(rows))
    return [
        PlotPoint(
            round((number + 0.5) * width, 2),
            *_heights(estimate, top),
            label,
            f"{label}: {formatting.format_rate(estimate)}",
        )
        for number, (label, estimate) in enumerate(rows)
        if estimate is not None
    ]


def highest_interval(rows: Sequence[tuple[str, Estimate | None]]) -> float:
    """The upper end of the highest interval, as the top of a plot's axis; 1 where all are 0."""
    return max((estimate.high for _, estimate in rows if estimate is not None), default=0.0) or 1.0


def _heights(estimate: Estimate, top: float) -> tuple[float, float, float]:
    def height(part: float) -> float:
        return round(HEIGHT * (1 - min(1.0, part / top)), 1)

    return height(estimate.value), height(estimate.low), height(estimate.high)
