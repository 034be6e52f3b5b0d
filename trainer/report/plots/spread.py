"""How scores are spread, below the threshold and above it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer.judging.metrics import Scores
from trainer.report.plots.look import INK, REAL, canvas, looks_of, percent, shown, styled, title

#: Scores are drawn between the logits of 0.0009 and 0.9991, in bins about this wide.
_LOWEST_LOGIT, _BIN = -7.0, 0.25


@dataclass(frozen=True, slots=True)
class Spread:
    """The scores of the real photos or of one engine's faces, and the share of them that is flagged."""

    name: str
    scores: Scores
    flagged: float


@styled
def histograms(reals: Spread, engines: Sequence[Spread], threshold: float) -> Figure:
    """How scores are spread: a row for the real photos and one for each engine, what is flagged in full colour."""
    looks = looks_of([engine.name for engine in engines])
    figure = canvas(1.5 + 0.85 * (1 + len(engines)))
    rows = figure.subplots(1 + len(engines), 1, sharex=True, squeeze=False)[:, 0]
    for axes, spread in zip(rows, (reals, *engines), strict=True):
        colour = REAL if spread is reals else looks[spread.name][0]
        _spread(axes, spread.scores, threshold, colour)
        axes.set_ylabel(shown(spread.name), rotation=0, ha="right", va="center")
        text = f"{percent(spread.flagged)} flagged\nn = {len(spread.scores):,}"
        axes.text(1.01, 0.4, text, transform=axes.transAxes, va="center")
    _logit_axis(rows[-1])
    rows[-1].set_xlabel(
        "Score, stretched towards both ends; what lies beyond is drawn at the ends. Each row has its own height"
    )
    worst, best = (percent(choose(engine.flagged for engine in engines)) for choose in (min, max))
    found = f"{best} of AI-generated faces" if worst == best else f"{worst} to {best} of an engine's faces"
    title(figure, f"The threshold of {threshold:.3g} flags {percent(reals.flagged)} of real photos\nand {found}")
    return figure


def _logit(scores: Scores) -> Scores:
    inside = np.clip(scores, 1e-9, 1 - 1e-9)
    return np.clip(np.log(inside / (1 - inside)), _LOWEST_LOGIT, -_LOWEST_LOGIT)


def _spread(axes: Axes, scores: Scores, threshold: float, colour: str) -> None:
    cut = float(_logit(np.array([threshold]))[0])
    edges = _edges(cut)
    counts, _ = np.histogram(_logit(scores), bins=edges)
    flagged = edges[:-1] >= cut
    for chosen, alpha in ((~flagged, 0.35), (flagged, 1.0)):
        axes.bar(edges[:-1][chosen], counts[chosen], np.diff(edges)[chosen], align="edge", color=colour, alpha=alpha)
    axes.axvline(cut, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _edges(cut: float) -> Scores:
    """Edges of about equal bins over the whole axis, one of them at the cut."""
    below = np.linspace(_LOWEST_LOGIT, cut, max(1, round((cut - _LOWEST_LOGIT) / _BIN)) + 1)
    above = np.linspace(cut, -_LOWEST_LOGIT, max(1, round((-_LOWEST_LOGIT - cut) / _BIN)) + 1)
    return np.unique(np.concatenate([below, above]))


def _logit_axis(axes: Axes) -> None:
    ticks = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
    axes.set_xlim(_LOWEST_LOGIT, -_LOWEST_LOGIT)
    axes.set_xticks([float(np.log(tick / (1 - tick))) for tick in ticks], [f"{tick:g}" for tick in ticks])
