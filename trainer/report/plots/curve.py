"""The ROC curve: what is found for how many wrong flags."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from trainer.judging.metrics import Scores
from trainer.report.plots.look import INK, figure_of, looks_of, percent, percent_axis, shown, styled, title, wrong_flags
from trainer.report.plots.spread import Spread


@styled
def roc(reals: Spread, engines: Sequence[Spread], target_fpr: float) -> Figure:
    """TPR over a logarithmic FPR, an engine a line, with the target and what is found there marked."""
    figure, axes = figure_of(5.4)
    looks, lines, labels = looks_of([engine.name for engine in engines]), [], []
    for engine in sorted(engines, key=lambda engine: -engine.flagged):
        colour, marker = looks[engine.name]
        lines += axes.plot(*_roc_points(reals.scores, engine.scores), color=colour, drawstyle="steps-post")
        axes.plot(reals.flagged, engine.flagged, marker, color=colour, markersize=7, clip_on=False, zorder=5)
        labels.append(f"{percent(engine.flagged)}  {shown(engine.name)}")
    axes.axvline(target_fpr, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    _odds_axis(axes, min(1 / len(reals.scores), target_fpr / 2), target_fpr)
    percent_axis(axes)
    axes.set_xlabel(f"Real photos flagged by mistake (false positive rate; {len(reals.scores):,} real photos)")
    axes.set_ylabel("AI-generated faces found")
    axes.legend(lines, labels, loc="lower right", title="Found at the threshold", alignment="left")
    title(figure, _trade(reals, engines, target_fpr))
    return figure


def _odds_axis(axes: Axes, lowest: float, target_fpr: float) -> None:
    """A logarithmic axis with ticks at powers of ten, less those that the target's own tick would cover."""
    powers = [10.0**power for power in range(-6, 1) if 10.0**power >= lowest]
    ticks = [target_fpr, *(power for power in powers if abs(math.log10(power / target_fpr)) > 0.25)]  # noqa: PLR2004
    axes.set_xscale("log")
    axes.set_xlim(lowest, 1)
    axes.set_xticks(ticks, [f"{_odds(tick)}\n({100 * tick:g} %)" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _odds(rate: float) -> str:
    return "all" if rate >= 1 else f"1 in {1 / rate:,.0f}"


def _roc_points(reals: Scores, fakes: Scores) -> tuple[Scores, Scores]:
    """The share of fakes above each real, over the share of reals that the threshold there may flag at most."""
    descending = np.sort(reals)[::-1]
    above = 1 - np.searchsorted(np.sort(fakes), descending, side="right") / len(fakes)
    return np.append(np.arange(len(reals)) / len(reals), 1.0), np.append(above, 1.0)


def _trade(reals: Spread, engines: Sequence[Spread], target_fpr: float) -> str:
    """What is found in all at the threshold, and what ten times as many wrong flags would buy."""
    fakes = np.concatenate([engine.scores for engine in engines])
    found = sum(engine.flagged * len(engine.scores) for engine in engines) / len(fakes)
    wrong = wrong_flags(reals.flagged, len(reals.scores), target_fpr)
    told = f"At {wrong}, {percent(found)} of AI-generated faces are found"
    if 10 * target_fpr >= 1:
        return told
    fpr, tpr = _roc_points(reals.scores, fakes)
    return f"{told};\n1 in {0.1 / target_fpr:,.0f} would find {percent(float(tpr[fpr <= 10 * target_fpr + 1e-9][-1]))}"
