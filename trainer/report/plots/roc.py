"""The ROC curve: the share of fakes found over the share of reals flagged."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from trainer.judging.metrics import Scores
from trainer.report.plots.histograms import ScoreSample
from trainer.report.plots.style import (
    INK,
    drawable_name,
    figure_of,
    fpr_in_words,
    line_styles,
    percent_axis,
    rounded_percent,
    styled,
    title,
)

#: The most engines whose legend has room beside the lines, and the width of an axis label as a share of the axis.
_MOST_INSIDE, _LABEL_WIDTH = 6, 0.11


@styled
def roc_plot(reals: ScoreSample, engines: Sequence[ScoreSample], target_fpr: float) -> Figure:
    """Plot TPR over a logarithmic FPR, one line for each engine; the target and the TPR there are marked."""
    many = len(engines) > _MOST_INSIDE
    figure, axes = figure_of(5.4 + (0.13 * len(engines) if many else 0))
    lowest = min(1 / len(reals.scores), target_fpr / 2)
    looks, handles, labels = line_styles([engine.name for engine in engines]), [], []
    for engine in sorted(engines, key=lambda engine: -engine.flagged):
        colour, marker = looks[engine.name]
        axes.plot(*_roc_points(reals.scores, engine.scores), color=colour, drawstyle="steps-post")
        place = max(reals.flagged, lowest)  # a logarithmic axis has no 0: the layout would make room for one
        axes.plot(place, engine.flagged, marker, color=colour, markersize=7, clip_on=False, zorder=5)
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=7))
        labels.append(f"{rounded_percent(engine.flagged)}  {drawable_name(engine.name)}")
    axes.axvline(target_fpr, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    _odds_axis(axes, lowest, target_fpr)
    percent_axis(axes)
    axes.set_xlabel(f"Real photos flagged by mistake (false positive rate; {len(reals.scores):,} real photos)")
    axes.set_ylabel("AI-generated faces found")
    if many:  # inside it would hide the lines
        figure.legend(handles, labels, loc="outside lower center", ncols=2, title="Found at the threshold")
    else:
        axes.legend(handles, labels, loc="lower right", title="Found at the threshold", alignment="left")
    title(figure, _trade(reals, engines, target_fpr))
    return figure


def _odds_axis(axes: Axes, lowest: float, target_fpr: float) -> None:
    """A logarithmic axis with ticks at powers of ten, except where the target's own tick would cover them."""
    powers = [10.0**power for power in range(-6, 1) if 10.0**power >= lowest]
    room = _LABEL_WIDTH * math.log10(1 / lowest)
    ticks = [target_fpr, *(power for power in powers if abs(math.log10(power / target_fpr)) > room)]
    axes.set_xscale("log")
    axes.set_xlim(lowest, 1)
    axes.set_xticks(ticks, [f"{_odds(tick)}\n({100 * tick:g} %)" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _odds(rate: float) -> str:
    return "all" if rate >= 1 else f"1 in {1 / rate:,.0f}"


def _roc_points(reals: Scores, fakes: Scores) -> tuple[Scores, Scores]:
    """FPR and TPR: the share of fakes above each real, over the largest share of reals that a threshold there flags."""
    descending = np.sort(reals)[::-1]
    above = 1 - np.searchsorted(np.sort(fakes), descending, side="right") / len(fakes)
    return np.append(np.arange(len(reals)) / len(reals), 1.0), np.append(above, 1.0)


def _trade(reals: ScoreSample, engines: Sequence[ScoreSample], target_fpr: float) -> str:
    """In words: the share found at the threshold, and what ten times as many wrong flags would find."""
    fakes = np.concatenate([engine.scores for engine in engines])
    found = sum(engine.flagged * len(engine.scores) for engine in engines) / len(fakes)
    wrong = fpr_in_words(reals.flagged, len(reals.scores), target_fpr)
    told = f"At {wrong}, {rounded_percent(found)} of AI-generated faces are found"
    if 10 * target_fpr >= 1:
        return told
    fpr, tpr = _roc_points(reals.scores, fakes)
    more = float(tpr[fpr <= 10 * target_fpr + 1e-9][-1])
    return f"{told};\n1 in {0.1 / target_fpr:,.0f} would find {rounded_percent(more)}"
