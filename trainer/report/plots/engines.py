"""The TPR of each engine, with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from trainer.report.plots.style import drawable_name, figure_of, line_styles, rounded_percent, styled, title


@dataclass(frozen=True, slots=True)
class EngineBar:
    """The share of an engine's ``n`` pictures that is found, with its interval; all from 0 to 1."""

    engine: str
    tpr: float
    low: float
    high: float
    n: int
    in_training: bool


@styled
def engine_plot(engines: Sequence[EngineBar], wrong: str) -> Figure:
    """Plot each engine's TPR with its interval, best first; hollow where training never saw the engine.

    ``wrong`` is the false positive rate in words, from `fpr_in_words`.
    """
    figure, axes = figure_of(1.7 + 0.45 * len(engines))
    ordered, looks = sorted(engines, key=lambda bar: bar.tpr), line_styles([bar.engine for bar in engines])
    for place, bar in enumerate(ordered):
        colour = looks[bar.engine][0]
        axes.plot([bar.low, bar.high], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        inside = colour if bar.in_training else "white"
        axes.plot(bar.tpr, place, "o", color=colour, markersize=9, mfc=inside, mew=2, clip_on=False, zorder=3)
        text = f"{rounded_percent(bar.tpr)}  ({100 * bar.low:.0f} to {rounded_percent(bar.high)}), n = {bar.n:,}"
        axes.text(1.03, place, text, va="center", transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(ordered)), [drawable_name(bar.engine) for bar in ordered])
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Found, with 95 % interval. Filled: engine seen in training; hollow: never seen")
    title(figure, _finding({bar.engine: bar.tpr for bar in engines}, wrong))
    return figure


def _finding(found: Mapping[str, float], wrong: str) -> str:
    best, worst = max(found, key=lambda name: found[name]), min(found, key=lambda name: found[name])
    told = f"At {wrong}, {rounded_percent(found[best])} of {drawable_name(best)} faces are found"
    return told if best == worst else f"{told},\nbut only {rounded_percent(found[worst])} of {drawable_name(worst)}"
