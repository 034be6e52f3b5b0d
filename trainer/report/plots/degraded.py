"""What is left of a detector on degraded photos."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from trainer.report.plots.look import FAINT, INK, REAL, canvas, looks_of, one_in, percent, percent_axis, shown, styled, title

#: The paper's Figure 3 and its text: TPR in percent of the model trained at 512, by longer side and by JPEG quality.
PAPER: dict[str, dict[int, float]] = {
    "resize": {512: 98, 256: 71, 128: 33, 64: 18, 32: 2},
    "jpeg": {100: 98, 80: 94.3, 60: 88, 40: 79, 20: 62},
}


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


@styled
def sweep(kind: str, lines: Sequence[Line], wrong: Sequence[float], target_fpr: float) -> Figure:
    """A degradation's two panels: threshold kept (with ``wrong``, the reals flagged by it), and threshold refitted."""
    figure = canvas(4.8)
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
        percent_axis(panel)
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
    title(figure, _loss(kind, next(line for line in lines if line.bold), target_fpr))
    return figure


_SWEPT = {"resize": "Longer side in pixels, scaled down and up again", "jpeg": "JPEG quality, recompressed"}


def _loss(kind: str, line: Line, target_fpr: float) -> str:
    what = {"resize": f"Scaled down to {line.levels[-1]} pixels", "jpeg": f"Recompressed at quality {line.levels[-1]}"}
    return (
        f"{what[kind]}, {percent(line.kept[-1])} of AI-generated faces are found instead of {percent(line.kept[0])}\n"
        f"(threshold set for {one_in(target_fpr)}; {percent(line.refitted[-1])} when refitted)"
    )
