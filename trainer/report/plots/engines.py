"""What is found of each engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from trainer.report.plots.look import figure_of, looks_of, percent, shown, styled, title


@dataclass(frozen=True, slots=True)
class Bar:
    """The share of ``n`` pictures of an engine that are found, with its interval; from 0 to 1."""

    engine: str
    tpr: float
    low: float
    high: float
    n: int
    in_training: bool


@styled
def bars(engines: Sequence[Bar], wrong: str) -> Figure:
    """Shares found by engine with their intervals, best first; hollow where training never saw the engine.

    ``wrong`` is what that costs, from `wrong_flags`.
    """
    figure, axes = figure_of(1.7 + 0.45 * len(engines))
    ordered, looks = sorted(engines, key=lambda bar: bar.tpr), looks_of([bar.engine for bar in engines])
    for place, bar in enumerate(ordered):
        colour = looks[bar.engine][0]
        axes.plot([bar.low, bar.high], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot(bar.tpr, place, "o", color=colour, markersize=9, mfc=colour if bar.in_training else "white", mew=2)
        text = f"{percent(bar.tpr)}  ({100 * bar.low:.0f} to {percent(bar.high)}), n = {bar.n:,}"
        axes.text(1.03, place, text, va="center", transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(ordered)), [shown(bar.engine) for bar in ordered])
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Found, with 95 % interval. Filled: engine seen in training; hollow: never seen")
    title(figure, _finding({bar.engine: bar.tpr for bar in engines}, wrong))
    return figure


def _finding(found: Mapping[str, float], wrong: str) -> str:
    best, worst = max(found, key=lambda name: found[name]), min(found, key=lambda name: found[name])
    told = f"At {wrong}, {percent(found[best])} of {shown(best)} faces are found"
    return told if best == worst else f"{told},\nbut only {percent(found[worst])} of {shown(worst)}"
