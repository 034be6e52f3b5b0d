"""The style of all plots: sizes, colours and fonts, and rates in words."""

import io
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.ticker import PercentFormatter

#: Inches, and dots per inch: 1,800 pixels, sharp when shown at 900.
WIDTH, DPI = 9.0, 200
#: Okabe and Ito's colours, which colour-blind people can distinguish (jfly.uni-koeln.de/color); grey is for reals.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
REAL, INK, FAINT = "#6B7280", "#1F2937", "#D1D5DB"
#: Markers, for more engines than colours and for printing in grey.
MARKERS = "osD^vP"

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

_P = ParamSpec("_P")


def png(figure: Figure) -> bytes:
    """A figure as a PNG file: the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Decorate a function to draw in this style, whatever the process's own style is."""

    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawn


def drawable_name(name: str) -> str:
    """A name in one line, shortened to 28 characters, with "?" for letters that the font lacks.

    An empty one is "(no name)".
    """
    font = _font()
    name = name if name.strip() else "(no name)"
    drawable = "".join(letter if font.get_char_index(ord(letter)) else "?" for letter in " ".join(name.split()))
    return drawable if len(drawable) <= _LONGEST_NAME else drawable[: _LONGEST_NAME - 1] + "…"


def fpr_in_words(fpr: float, reals: int, target_fpr: float) -> str:
    """The measured FPR in words; the target FPR where they differ by less than one of the reals."""
    if fpr == 0:
        return f"no wrong flag in {reals:,} real photos"
    return one_in(target_fpr if abs(fpr - target_fpr) < 1 / reals else fpr)


def one_in(rate: float) -> str:
    """A false positive rate in words: ``1 wrong flag in 200 real photos``."""
    return f"1 wrong flag in {1 / rate:,.0f} real photos"


@lru_cache(maxsize=1)
def _font() -> FT2Font:
    return font_manager.get_font(str(Path(font_manager.findfont("DejaVu Sans"))))


def canvas(height: float) -> Figure:
    """An empty figure of width `WIDTH`; ``height`` in inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_of(height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; ``height`` in inches."""
    figure = canvas(height)
    return figure, figure.subplots()


def title(figure: Figure, text: str) -> None:
    """Put the finding above the figure."""
    figure.suptitle(text, x=0.012, ha="left", fontsize=12.5, fontweight="bold", wrap=True)


def line_styles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each engine: the same in every plot of the same engines."""
    return {
        name: (COLOURS[number % len(COLOURS)], MARKERS[(number + number // len(COLOURS)) % len(MARKERS)])
        for number, name in enumerate(sorted(names))
    }


def percent_axis(axes: Axes) -> None:
    """Make the vertical axis one of shares from 0 to 100 %."""
    axes.set_ylim(-0.012, 1.012)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))


def rounded_percent(share: float) -> str:
    """A share in percent: two significant digits below one percent, no decimals above."""
    return f"{100 * share:.2g} %" if share < 0.01 else f"{100 * share:.0f} %"  # noqa: PLR2004 - one percent
