"""Where the parts of a small plot lie: in per cent of its width and pixels from its top. Templates draw SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from db.console import words
from db.stats.intervals import Estimate

#: Pixels that bars and points have; what is below them, for words, is the template's.
HEIGHT = 120
_GAP = 0.25
_SMALLEST = 1.0


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a bar: what it is of, how far its top is from the plot's, and how high it is."""

    kind: str
    top: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar's left edge and width, its parts from below, and what it says."""

    left: float
    width: float
    blocks: list[Block]
    said: str


@dataclass(frozen=True, slots=True)
class Point:
    """A figure and its interval's ends."""

    at: float
    value: float
    low: float
    high: float
    said: str


def bars(rows: Sequence[tuple[str, dict[str, int]]]) -> tuple[list[Bar], int]:
    """A bar for each row, its counts one on the other; and the highest bar's sum, which is the plot's height."""
    most = max((sum(counts.values()) for _, counts in rows), default=0)
    width = 100 / max(1, len(rows))
    return [_bar(number * width, width, label, counts, most) for number, (label, counts) in enumerate(rows)], most


def _bar(left: float, width: float, label: str, counts: dict[str, int], most: int) -> Bar:
    blocks, top = [], float(HEIGHT)
    for kind, count in counts.items():
        if count:
            height = max(_SMALLEST, HEIGHT * count / most)
            top -= height
            blocks.append(Block(kind, round(max(0.0, top), 1), round(height, 1)))
    named = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    gap = width * _GAP / 2
    return Bar(round(left + gap, 2), round(width - 2 * gap, 2), blocks, f"{label}: {named or 'none'}")


def points(rows: Sequence[tuple[str, Estimate | None]], top: float) -> list[Point]:
    """A point for each row that has a figure, from 0 at the bottom to ``top``."""
    width = 100 / max(1, len(rows))
    return [
        Point(round((number + 0.5) * width, 2), *_heights(estimate, top), f"{label}: {words.rate(estimate)}")
        for number, (label, estimate) in enumerate(rows)
        if estimate is not None
    ]


def highest(rows: Sequence[tuple[str, Estimate | None]]) -> float:
    """The end of the highest interval, for a plot that begins at 0; 1 where all are 0."""
    return max((estimate.high for _, estimate in rows if estimate is not None), default=0.0) or 1.0


def _heights(estimate: Estimate, top: float) -> tuple[float, float, float]:
    def height(part: float) -> float:
        return round(HEIGHT * (1 - min(1.0, part / top)), 1)

    return height(estimate.value), height(estimate.low), height(estimate.high)
