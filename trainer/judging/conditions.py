"""Metrics of fakes against reals at a threshold: by engine, and pooled as in the rows of the paper's Table 2."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from db.stats.intervals import wilson
from trainer.data.manifest import Example
from trainer.judging.metrics import Scores, auc, f1_at, rate_at
from trainer.judging.results import REALS, ConditionName, ConditionRow, DetectionMetrics, EngineRow, GroupRow

#: A fake shows no face when the manifest's column ``content`` has this value.
CONTENT, NON_FACE = "content", "nonface"


@dataclass(frozen=True, slots=True)
class ScoresByEngine:
    """One split's ascending scores: of reals, of each engine's faces, and of each engine's non-faces."""

    reals: Scores
    faces: dict[str, Scores]
    non_faces: dict[str, Scores]

    @classmethod
    def out_of(cls, examples: Sequence[Example], scores: Scores, split: str) -> Self:
        """Group scores, one for each example, of the examples in the split."""
        reals: list[float] = []
        faces: dict[str, list[float]] = {}
        non_faces: dict[str, list[float]] = {}
        for example, score in zip(examples, scores, strict=True):
            if example.split == split and not example.fake:
                reals.append(float(score))
            elif example.split == split:
                (non_faces if is_non_face(example) else faces).setdefault(example.engine, []).append(float(score))
        return cls(np.sort(np.array(reals)), _ascending(faces), _ascending(non_faces))

    def rounded(self) -> dict[str, tuple[float, ...]]:
        """``{engine: scores}``, rounded to 1e-6, for plots."""
        named = {REALS: self.reals, **self.faces, **{f"{name} (non-face)": s for name, s in self.non_faces.items()}}
        return {name: tuple(round(float(score), 6) for score in scores) for name, scores in named.items()}


def is_non_face(example: Example) -> bool:
    """Whether the manifest says that this picture shows no face."""
    return example.columns.get(CONTENT, "").strip().lower().replace("-", "") == NON_FACE


def detection_metrics(reals: Scores, fakes: Scores, threshold: float) -> DetectionMetrics:
    """Metrics of fakes against reals at a threshold; raises ValueError when there are no fakes."""
    tpr = wilson(int(np.sum(fakes >= threshold)), len(fakes))
    return DetectionMetrics(
        fakes=len(fakes),
        reals=len(reals),
        tpr=tpr.value,
        tpr_low=tpr.low,
        tpr_high=tpr.high,
        fpr=rate_at(reals, threshold),
        f1=f1_at(reals, fakes, threshold),
        ratio=1.0,
        auc=auc(reals, fakes),
    )


def engine_rows(split: ScoresByEngine, trained_on: frozenset[str], threshold: float) -> tuple[EngineRow, ...]:
    """Metrics of each engine's faces against all reals of the split."""
    return tuple(
        EngineRow(
            engine=name, in_training=name in trained_on, **detection_metrics(split.reals, fakes, threshold).model_dump()
        )
        for name, fakes in split.faces.items()
    )


def group_rows(
    examples: Sequence[Example], scores: Scores, threshold: float, name_of: Callable[[Example], str]
) -> tuple[GroupRow, ...]:
    """Metrics of the held-out faces of each family or source, against all held-out reals; by name."""
    held_out = [(example, float(score)) for example, score in zip(examples, scores, strict=True) if _judges(example)]
    reals = np.array([score for example, score in held_out if not example.fake])
    groups: dict[str, list[float]] = {}
    for example, score in held_out:
        if example.fake:
            groups.setdefault(name_of(example), []).append(score)
    return tuple(
        GroupRow(name=name, **detection_metrics(reals, np.array(groups[name]), threshold).model_dump())
        for name in sorted(groups)
    )


def _judges(example: Example) -> bool:
    return example.split == "eval" and not (example.fake and is_non_face(example))


def conditions(
    train: ScoresByEngine, held_out: ScoresByEngine, trained_on: frozenset[str], threshold: float
) -> tuple[ConditionRow, ...]:
    """The rows of the paper's Table 2, without those for which there are no pictures.

    "training" measures the manifest's split train against its own reals; the other rows are held out.
    """
    known = {name: scores for name, scores in held_out.faces.items() if name in trained_on}
    strange = {name: scores for name, scores in held_out.faces.items() if name not in trained_on}
    asked: tuple[tuple[ConditionName, Scores, Mapping[str, Scores]], ...] = (
        ("training", train.reals, train.faces),
        ("in-engine", held_out.reals, known),
        ("out-of-engine", held_out.reals, strange),
        ("non-face", held_out.reals, held_out.non_faces),
    )
    return tuple(_pooled(name, reals, engines, threshold) for name, reals, engines in asked if engines and len(reals))


def _pooled(name: ConditionName, reals: Scores, engines: Mapping[str, Scores], threshold: float) -> ConditionRow:
    """Pool all pictures, as the paper does: its rates by engine give its 98.0 % only when weighted by pictures."""
    together = detection_metrics(reals, np.concatenate(list(engines.values())), threshold)
    mean = float(np.mean([rate_at(fakes, threshold) for fakes in engines.values()]))
    return ConditionRow(name=name, tpr_engine_mean=mean, **together.model_dump())


def _ascending(scores: Mapping[str, list[float]]) -> dict[str, Scores]:
    return {name: np.sort(np.array(scores[name])) for name in sorted(scores)}
