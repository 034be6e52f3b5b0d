"""The learning curve: how the losses and the AUC changed during the fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trainer.report.plots.style import COLOURS, FAINT, INK, canvas, styled, title

#: The training loss is drawn as means of this share of all steps: single batches hide the course.
_SHARE = 0.02
#: A look is a point: a short fit has only one.
_POINTS: dict[str, Any] = {"marker": "o", "markersize": 4, "clip_on": False, "zorder": 3}


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Each step's loss, and the steps after which pictures were watched, with their loss and AUC."""

    losses: tuple[float, ...]
    watched_steps: tuple[int, ...] = ()
    watched_losses: tuple[float, ...] = ()
    watched_aucs: tuple[float, ...] = ()


@styled
def learning_plot(curve: LearningCurve) -> Figure:
    """Plot the losses over the steps and, where pictures were watched, the AUC below; the best look is marked."""
    figure = canvas(5.4 if curve.watched_steps else 3.4)
    rows: list[Axes] = list(figure.subplots(2 if curve.watched_steps else 1, 1, sharex=True, squeeze=False)[:, 0])
    steps, losses = _means(curve.losses)
    rows[0].plot(steps, losses, color=FAINT if curve.watched_steps else COLOURS[0], label="training, with dropout")
    rows[0].set_ylabel("Loss")
    rows[0].set_ylim(bottom=0)
    if curve.watched_steps:
        rows[0].plot(curve.watched_steps, curve.watched_losses, color=COLOURS[0], label="watched pictures", **_POINTS)
        rows[0].axvline(_best(curve), color=INK, linewidth=1, linestyle=(0, (4, 3)))
        rows[1].plot(curve.watched_steps, curve.watched_aucs, color=COLOURS[1], **_POINTS)
        rows[1].axvline(_best(curve), color=INK, linewidth=1, linestyle=(0, (4, 3)))
        rows[1].set_ylabel("AUC, watched pictures")
        rows[1].set_ylim(min(0.5, *curve.watched_aucs) - 0.02, 1.02)
    rows[0].legend(loc="upper right")
    rows[-1].set_xlim(0, len(curve.losses) + 0.5)
    marked = "; the dashed line is at the lowest loss of watched pictures" if curve.watched_steps else ""
    rows[-1].set_xlabel(f"Steps{marked}")
    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    title(figure, _course(curve))
    return figure


def _means(losses: Sequence[float]) -> tuple[list[float], list[float]]:
    """The middles of spans of steps, and the mean loss of each."""
    span = max(1, round(_SHARE * len(losses)))
    starts = range(0, len(losses), span)
    parts = [losses[start : start + span] for start in starts]
    middles = [start + (len(part) + 1) / 2 for start, part in zip(starts, parts, strict=True)]
    return middles, [float(np.mean(part)) for part in parts]


def _best(curve: LearningCurve) -> int:
    return curve.watched_steps[int(np.argmin(curve.watched_losses))]


def _course(curve: LearningCurve) -> str:
    steps = len(curve.losses)
    if not curve.watched_steps:
        return f"The training loss was {_means(curve.losses)[1][-1]:.3g} after {steps:,} steps"
    best = _best(curve)
    auc = curve.watched_aucs[curve.watched_steps.index(best)]
    lowest = "The loss of watched pictures was lowest"
    if best == curve.watched_steps[-1]:
        return f"{lowest} at the end, after {best:,} steps:\nAUC {auc:.3f}; more steps may help"
    return f"{lowest} after {best:,} of {steps:,} steps:\nAUC {auc:.3f}; more steps did not help"
