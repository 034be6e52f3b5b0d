"""The TPR and FPR of a detector on degraded photos."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from trainer.report.plots.style import (
    FAINT,
    INK,
    REAL,
    canvas,
    drawable_name,
    line_styles,
    one_in,
    percent_axis,
    rounded_percent,
    styled,
    title,
)

#: From the paper's Figure 3 and text: TPR in percent of the model trained at 512, by longer side and JPEG quality.
PAPER: dict[str, dict[int, float]] = {
    "resize": {512: 98, 256: 71, 128: 33, 64: 18, 32: 2},
    "jpeg": {100: 98, 80: 94.3, 60: 88, 40: 79, 20: 62},
}


@dataclass(frozen=True, slots=True)
class RobustnessLine:
    """Shares found at each level of a degradation, at the kept and at the refitted threshold, from 0 to 1.

    ``bold`` marks the line to read first. The intervals are pairs of a lower and an upper limit for each level; empty
    ones are not drawn.
    """

    name: str
    levels: tuple[int, ...]
    kept: tuple[float, ...]
    refitted: tuple[float, ...]
    bold: bool = False
    kept_intervals: tuple[tuple[float, float], ...] = ()
    refitted_intervals: tuple[tuple[float, float], ...] = ()


@styled
def robustness_plot(
    kind: str,
    lines: Sequence[RobustnessLine],
    wrong: Sequence[float],
    target_fpr: float,
    wrong_intervals: Sequence[tuple[float, float]] = (),
) -> Figure:
    """Plot a degradation: threshold kept (with ``wrong``, the share of reals that it flags), and threshold refitted.

    Bands and bars are 95 % intervals, of the bold line and of ``wrong``; those of all engines would hide each other.
    """
    figure = canvas(4.8 + 0.12 * max(0, len(lines) - _FEW_LINES))
    kept, refitted = figure.subplots(1, 2, sharey=True)
    handles, labels = _draw_lines(kept, lines, refitted=False), [drawable_name(line.name) for line in lines]
    _draw_lines(refitted, lines, refitted=True)
    for panel in (kept, refitted):
        panel.set_xticks(range(len(lines[0].levels)), [f"{level}" if level else "as is" for level in lines[0].levels])
        panel.set_xlabel(_SWEPT[kind])
        percent_axis(panel)
    handles += _draw_wrong(kept, wrong, wrong_intervals)
    labels.append("real photos, by mistake")
    paper = [(place, PAPER[kind][level] / 100) for place, level in enumerate(lines[0].levels) if level in PAPER[kind]]
    if paper:
        handles += kept.plot(*zip(*paper, strict=True), color=FAINT, linestyle="--", zorder=1)
        labels.append("the paper (its data, its model)")
    kept.set_title("Threshold as set on undegraded photos", loc="left")
    refitted.set_title("Threshold refitted to degraded real photos", loc="left")
    kept.set_ylabel("Photos flagged")
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    title(figure, _loss(kind, next(line for line in lines if line.bold), target_fpr))
    return figure


def _draw_lines(panel: Axes, lines: Sequence[RobustnessLine], *, refitted: bool) -> list[Line2D]:
    """Draw every line, and the bold one's band; returns what the legend shows."""
    looks = line_styles([line.name for line in lines if not line.bold])
    handles = []
    for line in lines:
        colour, marker = (INK, "o") if line.bold else looks[line.name]
        values, places = line.refitted if refitted else line.kept, range(len(line.levels))
        width = 2.8 if line.bold else 1.2
        handles += panel.plot(places, values, color=colour, marker=marker, linewidth=width, markersize=2 + 1.5 * width)
        intervals = line.refitted_intervals if refitted else line.kept_intervals
        if line.bold and intervals:
            lows, highs = zip(*intervals, strict=True)
            panel.fill_between(places, lows, highs, color=colour, alpha=0.15, linewidth=0, zorder=1)
    return handles


def _draw_wrong(panel: Axes, wrong: Sequence[float], intervals: Sequence[tuple[float, float]]) -> list[Line2D]:
    """Draw the share of reals that is flagged, with its intervals; returns what the legend shows."""
    handles = panel.plot(range(len(wrong)), wrong, color=REAL, linestyle=":", marker="x", clip_on=False)
    for place, (low, high) in enumerate(intervals):
        panel.plot([place, place], [low, high], color=REAL, linewidth=1.4, zorder=1)
    return handles


#: The number of lines whose legend fits below the panels of a figure of the usual height.
_FEW_LINES = 6
_SWEPT = {"resize": "Longer side in pixels, scaled down and up again", "jpeg": "JPEG quality, recompressed"}


def _loss(kind: str, line: RobustnessLine, target_fpr: float) -> str:
    what = {"resize": f"Scaled down to {line.levels[-1]} pixels", "jpeg": f"Recompressed at quality {line.levels[-1]}"}
    now, before, refitted = map(rounded_percent, (line.kept[-1], line.kept[0], line.refitted[-1]))
    return (
        f"{what[kind]}, {now} of AI-generated faces are found instead of {before}\n"
        f"(threshold set for {one_in(target_fpr)}; {refitted} when refitted)"
    )
