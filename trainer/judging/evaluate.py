"""Evaluates a detector by condition, engine and cohort, at the false positive rate that policy accepts.

All of it is arithmetic on examples and their scores, which come from `trainer.runs.evaluate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from db.stats.certification import certify, reals_to_certify
from db.stats.cohorts import cohort_columns, sort_with_cohorts
from db.stats.empirical_fpr import RealScores, count_allowed, few_reals, smallest_fpr
from db.stats.intervals import order_statistic_fpr, upper_limit, wilson
from trainer.data.manifest import Example
from trainer.detector.card import Card
from trainer.detector.card_fields import Name, field_faults
from trainer.detector.card_results import CertifiedQuality, EngineMetrics, Quality, Reference
from trainer.errors import CheckpointError, ManifestError
from trainer.judging.cohorts import cohorts
from trainer.judging.conditions import ScoresByEngine, conditions, engine_rows, group_rows
from trainer.judging.metrics import Scores, lowest_threshold, rate_at, thinned
from trainer.judging.results import CertifiedRow, EngineRow, Evaluation, LeftOutKind

#: The paper's target: at most one real face in 200 is flagged.
TARGET_FPR = 0.005
#: How far scores may differ between devices. Reals whose scores differ by no more count as the same reals.
_DEVICE_DIFFERENCE = 1e-3


@dataclass(frozen=True, slots=True)
class EvaluationTerms:
    """The options of an evaluation; raises ValueError for a target that is not between 0 and 1.

    ``threshold``: set on the manifest's held-out reals at ``target_fpr``, or the card's own with its own target.
    ``cohorts``: columns of the manifest; None for all with a few values. ``leave_out``: refit without each family,
    engine or source in turn, for ``refit_steps`` (None: the card's number), with the real sources in ``folds`` parts.
    """

    target_fpr: float = TARGET_FPR
    threshold: Literal["manifest", "card"] = "manifest"
    cohorts: tuple[str, ...] | None = None
    leave_out: tuple[LeftOutKind, ...] = ()
    folds: int = 5
    refit_steps: int | None = None
    #: Leave out pictures that cannot be used.
    skip_unreadable: bool = False
    #: How many real photos and fakes of each engine have a heatmap in the gallery.
    heatmaps: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.target_fpr < 1:
            raise ValueError(f"an FPR of {self.target_fpr:g} is not between 0 and 1")


def evaluate(
    examples: Sequence[Example],
    scores: Scores,
    card: Card,
    terms: EvaluationTerms,
    checkpoint_sha256: str,
    manifest_sha256: str,
) -> Evaluation:
    """The paper's Table 2, and beyond it rates by engine, and false positive rates by cohort.

    ``scores`` are (n,), one for each example. An engine is "in" when the card says that it was trained on. Intervals of
    TPRs take the threshold as given. Raises `ManifestError` when no reals are held out or the manifest lacks a cohort's
    column, and `CheckpointError` when the terms ask for the card's threshold and the card has none.
    """
    train, held_out = (ScoresByEngine.out_of(examples, scores, split) for split in ("train", "eval"))
    if not len(held_out.reals):
        raise ManifestError("the manifest has no real pictures in split eval: false positives cannot be measured")
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
        certified=_certified(held_out, target),
        conditions=conditions(train, held_out, trained_on, threshold),
        engines=engine_rows(held_out, trained_on, threshold),
        families=group_rows(examples, scores, threshold, lambda example: example.family),
        sources=group_rows(examples, scores, threshold, lambda example: example.source),
        cohorts=cohorts(examples, scores, threshold, terms.cohorts),
        scores={"train": train.rounded(), "eval": held_out.rounded()},
    )


def measure_quality(
    examples: Sequence[Example],
    scores: Scores,
    trained_on: frozenset[str],
    target_fpr: float = TARGET_FPR,
    strangers: Scores | None = None,
) -> Quality:
    """Quality for the card, at the threshold that flags ``target_fpr`` of these examples' reals.

    ``strangers`` are scores of reals whose sources were not trained on: then these give the threshold, and certify it.
    It measures each engine against all reals. Raises ValueError when there are too few reals to flag even one.
    """
    split = ScoresByEngine.out_of(examples, scores, examples[0].split)
    if strangers is not None:
        return _certified_quality(split, np.sort(strangers), trained_on, target_fpr)
    if count_allowed(target_fpr, len(split.reals)) < 1:
        raise ValueError(few_reals(len(split.reals), target_fpr))
    threshold = lowest_threshold(split.reals, target_fpr)
    rows, found = engine_rows(split, trained_on, threshold), _certified(split, target_fpr)
    return Quality(
        split=examples[0].split,
        target_fpr=target_fpr,
        threshold=threshold,
        measured_fpr=rate_at(split.reals, threshold),
        fpr_bound=upper_limit(count_allowed(target_fpr, len(split.reals)), len(split.reals)),
        reals=len(split.reals),
        engines={row.engine: _engine_metrics(row, split) for row in rows},
        certified=CertifiedQuality.model_validate(found.model_dump()) if found is not None else None,
    )


def _engine_metrics(row: EngineRow, split: ScoresByEngine) -> EngineMetrics:
    """An engine's metrics, with scores of its fakes at even ranks."""
    return EngineMetrics.model_validate(row.model_dump() | {"scores": thinned(split.faces[row.engine])})


def _certified(split: ScoresByEngine, target_fpr: float) -> CertifiedRow | None:
    """The certified threshold of a split's reals; None where they are too few, or too many score 1."""
    try:
        found = certify(RealScores("reals", np.sort(split.reals).tolist()), target_fpr)
    except ValueError:
        return None
    if found.threshold > 1:
        return None
    return CertifiedRow(
        confidence=found.confidence,
        allowed=found.allowed,
        threshold=found.threshold,
        bound=found.bound,
        tpr={engine: rate_at(scores, found.threshold) for engine, scores in sorted(split.faces.items())},
    )


def _certified_quality(
    split: ScoresByEngine, strangers: Scores, trained_on: frozenset[str], target_fpr: float
) -> Quality:
    judged = ScoresByEngine(strangers, split.faces, split.non_faces)
    found = _certified(judged, target_fpr)
    if found is None:
        raise ValueError(
            f"{len(strangers)} reals of sources outside the training cannot certify an FPR of {target_fpr:g}"
        )
    rows = engine_rows(judged, trained_on, found.threshold)
    return Quality(
        split="eval",
        target_fpr=target_fpr,
        threshold=found.threshold,
        measured_fpr=rate_at(strangers, found.threshold),
        fpr_bound=found.bound,
        reals=len(strangers),
        unseen_sources=True,
        engines={row.engine: _engine_metrics(row, split) for row in rows},
        certified=CertifiedQuality.model_validate(found.model_dump()),
    )


def reference_scores(name: str, examples: Sequence[Example], scores: Scores) -> Reference:
    """The real photos' ascending scores, which give the false positive rate of any threshold, and their cohorts."""
    reals = [(e, round(float(score), 7)) for e, score in zip(examples, scores, strict=True) if not e.fake]
    rows = [example.columns for example, _ in reals]
    columns = [column for column in cohort_columns(rows) if not _faults(column, rows)]
    ascending, cohorts = sort_with_cohorts([score for _, score in reals], rows, columns)
    return Reference.model_validate({"name": name, "scores": ascending, "cohorts": cohorts})


def _faults(column: str, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Why a card cannot hold a column of the manifest; it is left out rather than lose the run."""
    names = {column, *(row.get(column, "") for row in rows)}
    return [fault for name in sorted(names) for fault in field_faults(Name, "the cohort", name)]


def results_table(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Rows for people: conditions, engines, families, and what was left out, all with the same columns."""
    left_out = evaluation.left_out
    named: list[tuple[str, str, BaseModel]] = [
        *(("condition", row.name, row) for row in evaluation.conditions),
        *(("engine, in" if row.in_training else "engine, out", row.engine, row) for row in evaluation.engines),
        *(("family", row.name, row) for row in evaluation.families),
        *(("source", row.name, row) for row in evaluation.sources),
        *((f"{row.kind}, left out", row.name, row) for row in (left_out.fakes if left_out else ())),
        *(("reals, left out", row.source, row) for row in (left_out.reals if left_out else ())),
    ]
    shown = ("fakes", "reals", "tpr", "tpr_low", "tpr_high", "tpr_engine_mean", "fpr", "f1", "ratio", "auc")
    return [{"row": kind, "name": name} | {key: getattr(row, key, None) for key in shown} for kind, name, row in named]


def _threshold(reals: Scores, card: Card, terms: EvaluationTerms) -> tuple[float, float]:
    """The threshold and its target FPR, as the terms ask."""
    if terms.threshold == "manifest":
        return lowest_threshold(reals, terms.target_fpr), terms.target_fpr
    if card.quality is None:
        raise CheckpointError(f"the card of {card.name!r} has no threshold: use --threshold manifest")
    return card.quality.threshold, card.quality.target_fpr


def _chosen_on(reals: Scores, card: Card, terms: EvaluationTerms) -> bool:
    """Whether the threshold was set on these reals. The card knows them by their scores: manifests may gain columns."""
    if terms.threshold == "manifest":
        return True
    known = np.array(card.reference.scores if card.reference else ())
    return len(known) == len(reals) and bool(np.allclose(known, reals, rtol=0, atol=_DEVICE_DIFFERENCE))


def _false_positives(reals: Scores, threshold: float, target: float, *, chosen_here: bool) -> dict[str, Any]:
    flagged = int(np.sum(reals >= threshold))
    fpr = (order_statistic_fpr if chosen_here else wilson)(flagged, len(reals))
    return {
        "reals": len(reals),
        "flagged": flagged,
        "fpr": fpr.value,
        "fpr_low": fpr.low,
        "fpr_high": fpr.high,
        "fpr_interval": "order statistic" if chosen_here else "wilson",
        "fpr_bound": upper_limit(flagged, len(reals)),
        "certifies_from": reals_to_certify(target),
        "smallest_fpr": smallest_fpr(len(reals)),
        "warning": few_reals(len(reals), target),
    }
