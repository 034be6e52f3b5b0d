"""How well a detector does, by condition, engine and cohort, at the false positive rate that policy accepts.

All of it is arithmetic on examples and their scores; `trainer.runs.evaluate_files` is where those come from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trainer.detector.card import Card, EngineMetrics, Quality, Reference
from trainer.judging.cohorts import cohorts
from trainer.judging.conditions import Sorted, conditions, engine_rows
from trainer.errors import CheckpointError, ManifestError
from trainer.judging.evaluation import Evaluation
from trainer.judging.intervals import order_statistic_fpr, smallest_fpr, wilson
from trainer.data.manifest import Example
from trainer.judging.metrics import Scores, rate_at, threshold_at_fpr

#: The paper's: at most one real face in 200 is flagged.
TARGET_FPR = 0.005
#: How far scores may differ between devices. Reals whose scores differ by no more are taken for the same reals.
_DEVICE_DIFFERENCE = 1e-3


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a detector is judged.

    ``threshold``: set on the manifest's held-out reals at ``target_fpr``, or the card's own with its own target.
    ``cohorts``: columns of the manifest; None for all that have a few values. ``leave_one_engine_out``: refit without
    each engine in turn, for ``refit_steps`` (None for as many as the card says).
    """

    target_fpr: float = TARGET_FPR
    threshold: Literal["manifest", "card"] = "manifest"
    cohorts: tuple[str, ...] | None = None
    leave_one_engine_out: bool = False
    refit_steps: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.target_fpr < 1:
            raise ValueError(f"an FPR of {self.target_fpr:g} is not between 0 and 1")


def evaluate(
    examples: Sequence[Example], scores: Scores, card: Card, terms: Terms, checkpoint_sha256: str, manifest_sha256: str
) -> Evaluation:
    """The paper's Table 2, and what it leaves out: engine by engine, and how often each cohort's reals are flagged.

    ``scores`` are (n,), one for each example. An engine is "in" when the card says that it was trained on. Intervals of
    TPRs take the threshold as given. Raises `ManifestError` when no reals were held out or a cohort's column is not
    there, and `CheckpointError` when the card's threshold is asked for and it has none.
    """
    train, held_out = (Sorted.out_of(examples, scores, split) for split in ("train", "eval"))
    if not len(held_out.reals):
        raise ManifestError("the manifest has no real pictures in split eval: nothing can be said of false positives")
    trained_on = frozenset(card.data.counts.get("train", {}))
    threshold, target = _threshold(held_out.reals, card, terms)
    return Evaluation(
        checkpoint=card.name,
        checkpoint_sha256=checkpoint_sha256,
        manifest_sha256=manifest_sha256,
        target_fpr=target,
        threshold=threshold,
        threshold_from=terms.threshold,
        **_false_positives(held_out.reals, threshold, target, chosen_here=_chosen_on(held_out.reals, card, terms)),
        conditions=conditions(train, held_out, trained_on, threshold),
        engines=engine_rows(held_out, trained_on, threshold),
        cohorts=cohorts(examples, scores, threshold, terms.cohorts),
        scores={"train": train.rounded(), "eval": held_out.rounded()},
    )


def judge(
    examples: Sequence[Example], scores: Scores, trained_on: frozenset[str], target_fpr: float = TARGET_FPR
) -> Quality:
    """Quality for the card, at the threshold that flags ``target_fpr`` of these examples' reals.

    Each engine is measured against all reals. Raises ValueError when there are too few reals for the target.
    """
    split = Sorted.out_of(examples, scores, examples[0].split)
    threshold = threshold_at_fpr(split.reals, target_fpr)
    rows = engine_rows(split, trained_on, threshold)
    return Quality(
        split=examples[0].split,
        target_fpr=target_fpr,
        threshold=threshold,
        measured_fpr=rate_at(split.reals, threshold),
        reals=len(split.reals),
        engines={row.engine: EngineMetrics.model_validate(row.model_dump()) for row in rows},
    )


def reference(name: str, examples: Sequence[Example], scores: Scores) -> Reference:
    """The real photos' scores, from which the false positive rate of any threshold can be read."""
    reals = [float(score) for example, score in zip(examples, scores, strict=True) if not example.fake]
    return Reference(name=name, scores=tuple(sorted(round(score, 7) for score in reals)))


def lowest_threshold(reals: Scores, target_fpr: float) -> float:
    """The lowest threshold that flags at most the target; where reals are too few to flag even one, it flags none."""
    if math.floor(target_fpr * len(reals) + 1e-9) < 1:
        return float(np.nextafter(reals.max(), np.inf))
    return threshold_at_fpr(reals, target_fpr)


def table(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Rows for people and for ``--json``: conditions, engines and engines left out, all with the same columns."""
    named = [
        *(("condition", row.name, row) for row in evaluation.conditions),
        *(("engine, in" if row.in_training else "engine, out", row.engine, row) for row in evaluation.engines),
        *(("engine, left out", row.engine, row) for row in evaluation.leave_one_engine_out or ()),
    ]
    shown = ("fakes", "reals", "tpr", "tpr_low", "tpr_high", "tpr_engine_mean", "fpr", "f1", "ratio", "auc")
    return [{"row": kind, "name": name} | {key: getattr(row, key, None) for key in shown} for kind, name, row in named]


def _threshold(reals: Scores, card: Card, terms: Terms) -> tuple[float, float]:
    """The threshold and its target FPR."""
    if terms.threshold == "manifest":
        return lowest_threshold(reals, terms.target_fpr), terms.target_fpr
    if card.quality is None:
        raise CheckpointError(f"the card of {card.name!r} has no threshold: set one on the manifest's reals")
    return card.quality.threshold, card.quality.target_fpr


def _chosen_on(reals: Scores, card: Card, terms: Terms) -> bool:
    """Whether the threshold was set on these reals, which the card knows by their scores: manifests gain columns."""
    if terms.threshold == "manifest":
        return True
    known = np.array(card.reference.scores if card.reference else ())
    return len(known) == len(reals) and bool(np.allclose(known, reals, rtol=0, atol=_DEVICE_DIFFERENCE))


def _false_positives(reals: Scores, threshold: float, target: float, *, chosen_here: bool) -> dict[str, Any]:
    flagged = int(np.sum(reals >= threshold))
    low, high = (order_statistic_fpr if chosen_here else wilson)(flagged, len(reals))
    return {
        "reals": len(reals),
        "flagged": flagged,
        "fpr": flagged / len(reals),
        "fpr_low": low,
        "fpr_high": high,
        "fpr_interval": "order statistic" if chosen_here else "wilson",
        "smallest_fpr": smallest_fpr(len(reals)),
        "warning": _warning(len(reals), target),
    }


def _warning(reals: int, target: float) -> str | None:
    needed = math.ceil(3 / target - 1e-9)
    if reals >= needed:
        return None
    smallest = f"the smallest that can be shown is {smallest_fpr(reals):.2g}"
    return f"{reals} reals are too few to show an FPR of {target:g}, which takes {needed}: {smallest}"
