"""Pictures of how well a detector does, for people who read no code: plain data in, the finding as title.

Figures are drawn without a display and without matplotlib's global state. Names come from manifests, which nobody
vouches for: they are shown as text, never read as formulas.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.ticker import NullLocator, PercentFormatter

from trainer.metrics import Scores

#: Inches, and dots an inch: twice 900 pixels, sharp where it is shown at half its size.
WIDTH, DPI = 9.0, 200
#: Okabe and Ito's colours, which colour-blind people can tell apart (jfly.uni-koeln.de/color); grey is for real photos.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
REAL, INK, FAINT = "#6B7280", "#1F2937", "#D1D5DB"
#: Beside the colour, for more engines than colours and for grey printers.
MARKERS = "osD^vP"
#: The paper's Figure 3 and its text: TPR in percent of the model trained at 512, by longer side and by JPEG quality.
PAPER: dict[str, dict[int, float]] = {
    "resize": {512: 98, 256: 71, 128: 33, 64: 18, 32: 2},
    "jpeg": {100: 98, 80: 94.3, 60: 88, 40: 79, 20: 62},
}

_STYLE: dict[Any, Any] = {  # matplotlib's stubs want each key as a literal
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": REAL,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.grid": True,
    "grid.color": "#E5E7EB",
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
_LONGEST_NAME = 28
#: Scores are drawn between the logits of 0.0009 and 0.9991, in bins about this wide.
_LOWEST_LOGIT, _BIN = -7.0, 0.25

_P = ParamSpec("_P")


@dataclass(frozen=True, slots=True)
class Spread:
    """The scores of the real photos or of one engine's faces, and the share of them that is flagged."""

    name: str
    scores: Scores
    flagged: float


@dataclass(frozen=True, slots=True)
class Bar:
    """The share of ``n`` pictures of an engine that are found, with its interval; from 0 to 1."""

    engine: str
    tpr: float
    low: float
    high: float
    n: int
    in_training: bool


@dataclass(frozen=True, slots=True)
class Line:
    """Shares found at each level of a degradation, at the kept and at the refitted threshold, from 0 to 1.

    A line with ``bold`` is the one to read first.
    """

    name: str
    levels: tuple[int, ...]
    kept: tuple[float, ...]
    refitted: tuple[float, ...]
    bold: bool = False


def png(figure: Figure) -> bytes:
    """A figure as a PNG file, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    @wraps(draw)
    def styled(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


@_styled
def roc(reals: Spread, engines: Sequence[Spread], target_fpr: float) -> Figure:
    """TPR over a logarithmic FPR, an engine a line, with the target and what is found there marked."""
    figure, axes = _figure(5.4)
    looks, lines, labels = looks_of([engine.name for engine in engines]), [], []
    for engine in sorted(engines, key=lambda engine: -engine.flagged):
        colour, marker = looks[engine.name]
        lines += axes.plot(*_roc_points(reals.scores, engine.scores), color=colour, drawstyle="steps-post")
        axes.plot(reals.flagged, engine.flagged, marker, color=colour, markersize=7, clip_on=False, zorder=5)
        labels.append(f"{_percent(engine.flagged)}  {shown(engine.name)}")
    axes.axvline(target_fpr, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    _odds_axis(axes, min(1 / len(reals.scores), target_fpr / 2), target_fpr)
    _percent_axis(axes)
    axes.set_xlabel(f"Real photos flagged by mistake (false positive rate; {len(reals.scores):,} real photos)")
    axes.set_ylabel("AI-generated faces found")
    axes.legend(lines, labels, loc="lower right", title="Found at the threshold", alignment="left")
    _title(figure, _trade(reals, engines, target_fpr))
    return figure


@_styled
def histograms(reals: Spread, engines: Sequence[Spread], threshold: float) -> Figure:
    """How scores are spread: a row for the real photos and one for each engine, what is flagged in full colour."""
    looks = looks_of([engine.name for engine in engines])
    figure = _canvas(1.5 + 0.85 * (1 + len(engines)))
    rows = figure.subplots(1 + len(engines), 1, sharex=True, squeeze=False)[:, 0]
    for axes, spread in zip(rows, (reals, *engines), strict=True):
        colour = REAL if spread is reals else looks[spread.name][0]
        _spread(axes, spread.scores, threshold, colour)
        axes.set_ylabel(shown(spread.name), rotation=0, ha="right", va="center")
        text = f"{_percent(spread.flagged)} flagged\nn = {len(spread.scores):,}"
        axes.text(1.01, 0.4, text, transform=axes.transAxes, va="center")
    _logit_axis(rows[-1])
    rows[-1].set_xlabel(
        "Score, stretched towards both ends; what lies beyond is drawn at the ends. Each row has its own height"
    )
    worst, best = (_percent(choose(engine.flagged for engine in engines)) for choose in (min, max))
    found = f"{best} of AI-generated faces" if worst == best else f"{worst} to {best} of an engine's faces"
    _title(figure, f"The threshold of {threshold:.3g} flags {_percent(reals.flagged)} of real photos\nand {found}")
    return figure


@_styled
def bars(engines: Sequence[Bar], wrong: str) -> Figure:
    """Shares found by engine with their intervals, best first; hollow where training never saw the engine.

    ``wrong`` is what that costs, from `wrong_flags`.
    """
    figure, axes = _figure(1.7 + 0.45 * len(engines))
    ordered, looks = sorted(engines, key=lambda bar: bar.tpr), looks_of([bar.engine for bar in engines])
    for place, bar in enumerate(ordered):
        colour = looks[bar.engine][0]
        axes.plot([bar.low, bar.high], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot(bar.tpr, place, "o", color=colour, markersize=9, mfc=colour if bar.in_training else "white", mew=2)
        text = f"{_percent(bar.tpr)}  ({100 * bar.low:.0f} to {_percent(bar.high)}), n = {bar.n:,}"
        axes.text(1.03, place, text, va="center", transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(ordered)), [shown(bar.engine) for bar in ordered])
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Found, with 95 % interval. Filled: engine seen in training; hollow: never seen")
    _title(figure, _finding({bar.engine: bar.tpr for bar in engines}, wrong))
    return figure


@_styled
def sweep(kind: str, lines: Sequence[Line], wrong: Sequence[float], target_fpr: float) -> Figure:
    """A degradation's two panels: threshold kept (with ``wrong``, the reals flagged by it), and threshold refitted."""
    figure = _canvas(4.8)
    panels = figure.subplots(1, 2, sharey=True)
    looks, handles, labels = looks_of([line.name for line in lines if not line.bold]), [], []
    for panel, refitted in zip(panels, (False, True), strict=True):
        for line in lines:
            colour, marker = (INK, "o") if line.bold else looks[line.name]
            values, places = line.refitted if refitted else line.kept, range(len(line.levels))
            width = 2.8 if line.bold else 1.2
            drawn = panel.plot(places, values, color=colour, marker=marker, linewidth=width, markersize=2 + 1.5 * width)
            if not refitted:
                handles += drawn
                labels.append(shown(line.name))
        panel.set_xticks(range(len(lines[0].levels)), [f"{level}" if level else "as is" for level in lines[0].levels])
        panel.set_xlabel(_SWEPT[kind])
        _percent_axis(panel)
    handles += panels[0].plot(range(len(wrong)), wrong, color=REAL, linestyle=":", marker="x", clip_on=False)
    labels.append("real photos, by mistake")
    paper = [(place, PAPER[kind][level] / 100) for place, level in enumerate(lines[0].levels) if level in PAPER[kind]]
    if paper:
        handles += panels[0].plot(*zip(*paper, strict=True), color=FAINT, linestyle="--", zorder=1)
        labels.append("the paper (its data, its model)")
    panels[0].set_title("Threshold kept as set on photos as they are", loc="left")
    panels[1].set_title("Threshold refitted to real photos degraded alike", loc="left")
    panels[0].set_ylabel("Photos flagged")
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    _title(figure, _loss(kind, next(line for line in lines if line.bold), target_fpr))
    return figure


_SWEPT = {"resize": "Longer side in pixels, scaled down and up again", "jpeg": "JPEG quality, recompressed"}


def shown(name: str) -> str:
    """A name as it can be drawn: one line, not too long, and only letters that the font has."""
    font = _font()
    drawable = "".join(letter if font.get_char_index(ord(letter)) else "?" for letter in " ".join(name.split()))
    return drawable if len(drawable) <= _LONGEST_NAME else drawable[: _LONGEST_NAME - 1] + "…"


def wrong_flags(fpr: float, reals: int, target_fpr: float) -> str:
    """The measured FPR in words; the target where it comes as near to it as so many reals can."""
    if fpr == 0:
        return f"no wrong flag in {reals:,} real photos"
    return _one_in(target_fpr if abs(fpr - target_fpr) < 1 / reals else fpr)


@lru_cache(maxsize=1)
def _font() -> FT2Font:
    return font_manager.get_font(str(Path(font_manager.findfont("DejaVu Sans"))))


def _canvas(height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = _canvas(height)
    return figure, figure.subplots()


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.012, ha="left", fontsize=12.5, fontweight="bold", wrap=True)


def looks_of(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each engine: the same in every picture of the same engines."""
    return {
        name: (COLOURS[number % len(COLOURS)], MARKERS[(number + number // len(COLOURS)) % len(MARKERS)])
        for number, name in enumerate(sorted(names))
    }


def _percent_axis(axes: Axes) -> None:
    axes.set_ylim(-0.012, 1.012)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))


def _percent(share: float) -> str:
    """A share in percent: two figures when it is small, none after the point when it is not."""
    return f"{100 * share:.2g} %" if share < 0.01 else f"{100 * share:.0f} %"  # noqa: PLR2004 - one percent


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


def _trade(reals: Spread, engines: Sequence[Spread], target_fpr: float) -> str:
    """What is found in all at the threshold, and what ten times as many wrong flags would buy."""
    fakes = np.concatenate([engine.scores for engine in engines])
    found = sum(engine.flagged * len(engine.scores) for engine in engines) / len(fakes)
    wrong = wrong_flags(reals.flagged, len(reals.scores), target_fpr)
    told = f"At {wrong}, {_percent(found)} of AI-generated faces are found"
    if 10 * target_fpr >= 1:
        return told
    fpr, tpr = _roc_points(reals.scores, fakes)
    return f"{told};\n1 in {0.1 / target_fpr:,.0f} would find {_percent(float(tpr[fpr <= 10 * target_fpr + 1e-9][-1]))}"


def _finding(found: Mapping[str, float], wrong: str) -> str:
    best, worst = max(found, key=lambda name: found[name]), min(found, key=lambda name: found[name])
    told = f"At {wrong}, {_percent(found[best])} of {shown(best)} faces are found"
    return told if best == worst else f"{told},\nbut only {_percent(found[worst])} of {shown(worst)}"


def _one_in(rate: float) -> str:
    return f"1 wrong flag in {1 / rate:,.0f} real photos"


def _loss(kind: str, line: Line, target_fpr: float) -> str:
    what = {"resize": f"Scaled down to {line.levels[-1]} pixels", "jpeg": f"Recompressed at quality {line.levels[-1]}"}
    return (
        f"{what[kind]}, {_percent(line.kept[-1])} of AI-generated faces are found instead of {_percent(line.kept[0])}\n"
        f"(threshold set for {_one_in(target_fpr)}; {_percent(line.refitted[-1])} when refitted)"
    )
