"""Fakes against reals at a threshold: one engine's, or pooled in the rows of the paper's Table 2."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from trainer.judging.evaluation import REALS, Condition, ConditionName, EngineRow, Figures
from trainer.judging.intervals import wilson
from trainer.data.manifest import Example
from trainer.judging.metrics import Scores, auc, f1_at, rate_at

#: A fake is no face when the manifest's column ``content`` says so.
CONTENT, NON_FACE = "content", "nonface"


@dataclass(frozen=True, slots=True)
class Sorted:
    """One split's ascending scores: of reals, of each engine's faces, and of what each engine made that is none."""

    reals: Scores
    faces: dict[str, Scores]
    non_faces: dict[str, Scores]

    @classmethod
    def out_of(cls, examples: Sequence[Example], scores: Scores, split: str) -> Self:
        """Sort out the scores, one for each example, of those that are in the split."""
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


def figures(reals: Scores, fakes: Scores, threshold: float) -> Figures:
    """Fakes against reals at a threshold; neither may be empty."""
    caught = int(np.sum(fakes >= threshold))
    low, high = wilson(caught, len(fakes))
    return Figures(
        fakes=len(fakes),
        reals=len(reals),
        tpr=caught / len(fakes),
        tpr_low=low,
        tpr_high=high,
        fpr=rate_at(reals, threshold),
        f1=f1_at(reals, fakes, threshold),
        ratio=1.0,
        auc=auc(reals, fakes),
    )


def engine_rows(split: Sorted, trained_on: frozenset[str], threshold: float) -> tuple[EngineRow, ...]:
    """Each engine's faces against all reals of the split."""
    return tuple(
        EngineRow(engine=name, in_training=name in trained_on, **figures(split.reals, fakes, threshold).model_dump())
        for name, fakes in split.faces.items()
    )


def conditions(train: Sorted, held_out: Sorted, trained_on: frozenset[str], threshold: float) -> tuple[Condition, ...]:
    """The rows of the paper's Table 2, without those for which there are no pictures.

    "training" is what the manifest's split train holds, against its own reals; the others are held out.
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


def _pooled(name: ConditionName, reals: Scores, engines: Mapping[str, Scores], threshold: float) -> Condition:
    """All pictures alike, as the paper counts: its rates by engine make its 98.0 % only by their pictures' numbers."""
    together = figures(reals, np.concatenate(list(engines.values())), threshold)
    mean = float(np.mean([rate_at(fakes, threshold) for fakes in engines.values()]))
    return Condition(name=name, tpr_engine_mean=mean, **together.model_dump())


def _ascending(scores: Mapping[str, list[float]]) -> dict[str, Scores]:
    return {name: np.sort(np.array(scores[name])) for name in sorted(scores)}
