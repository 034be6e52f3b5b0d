"""Histograms of scores, below the threshold and above it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer.judging.metrics import Scores
from trainer.report.plots.style import INK, REAL, canvas, drawable_name, line_styles, rounded_percent, styled, title

#: Scores are drawn between the logits of 0.0009 and 0.9991, in bins of about this width, at least one on either side
#: of the threshold.
_LOWEST_LOGIT, _BIN = -7.0, 0.25


@dataclass(frozen=True, slots=True)
class ScoreSample:
    """The ascending scores of the real photos or of one engine's faces, and the share that is flagged, 0 to 1.

    The highest scores are the flagged ones. Where a score is so close to the threshold that rounding has moved it
    across, the share is right.
    """

    name: str
    scores: Scores
    flagged: float


@styled
def histogram_plot(reals: ScoreSample, engines: Sequence[ScoreSample], threshold: float) -> Figure:
    """Plot the histograms: a row for the real photos and one for each engine; flagged scores in full colour."""
    looks = line_styles([engine.name for engine in engines])
    figure = canvas(1.5 + 0.85 * (1 + len(engines)))
    rows = figure.subplots(1 + len(engines), 1, sharex=True, squeeze=False)[:, 0]
    for axes, spread in zip(rows, (reals, *engines), strict=True):
        colour = REAL if spread is reals else looks[spread.name][0]
        _spread(axes, spread, threshold, colour)
        axes.set_ylabel(drawable_name(spread.name), rotation=0, ha="right", va="center")
        text = f"{rounded_percent(spread.flagged)} flagged\nn = {len(spread.scores):,}"
        axes.text(1.01, 0.4, text, transform=axes.transAxes, va="center")
    _logit_axis(rows[-1])
    rows[-1].set_xlabel(
        "Score on a logit scale; scores beyond the ends are drawn at the ends. Each row has its own height"
    )
    worst, best = (rounded_percent(choose(engine.flagged for engine in engines)) for choose in (min, max))
    found = f"{best} of AI-generated faces" if worst == best else f"{worst} to {best} of an engine's faces"
    title(
        figure, f"The threshold of {threshold:.3g} flags {rounded_percent(reals.flagged)} of real photos\nand {found}"
    )
    return figure


def _logit(scores: Scores) -> Scores:
    inside = np.clip(scores, 1e-9, 1 - 1e-9)
    return np.clip(np.log(inside / (1 - inside)), _LOWEST_LOGIT, -_LOWEST_LOGIT)


def _spread(axes: Axes, spread: ScoreSample, threshold: float, colour: str) -> None:
    cut = float(np.clip(_logit(np.array([threshold]))[0], _LOWEST_LOGIT + _BIN, -_LOWEST_LOGIT - _BIN))
    logits = _logit(np.sort(spread.scores))
    passed = len(logits) - round(spread.flagged * len(logits))
    sides = ((logits[:passed], _LOWEST_LOGIT, cut, 0.35), (logits[passed:], cut, -_LOWEST_LOGIT, 1.0))
    for part, start, end, alpha in sides:
        edges = np.linspace(start, end, max(1, round((end - start) / _BIN)) + 1)
        counts, _ = np.histogram(np.clip(part, start, end), bins=edges)
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colour, alpha=alpha)
    axes.axvline(cut, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _logit_axis(axes: Axes) -> None:
    ticks = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
    axes.set_xlim(_LOWEST_LOGIT, -_LOWEST_LOGIT)
    axes.set_xticks([float(np.log(tick / (1 - tick))) for tick in ticks], [f"{tick:g}" for tick in ticks])
