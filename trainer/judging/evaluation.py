"""What ``metrics.json`` holds: enough to draw a report from, without the detector and its pictures. No torch here.

Rates are shares from 0 to 1; intervals are at 95 %. Scores at or above the threshold are flagged.
"""

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.errors import TrainerError

#: Under which name `Evaluation.scores` holds the real photos.
REALS = "real"

#: The rows of the paper's Table 2.
ConditionName = Literal["training", "in-engine", "out-of-engine", "non-face"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Figures(_Part):
    """Some fakes against the reals of their split, at the evaluation's threshold.

    ``f1`` is what it would be with ``ratio`` fakes for each real: 1, as in the paper, whatever the counts are here.
    """

    fakes: int
    reals: int
    tpr: float
    tpr_low: float
    tpr_high: float
    fpr: float
    f1: float
    ratio: float
    auc: float


class Condition(Figures):
    """A row of the paper's Table 2, its pictures pooled; ``tpr_engine_mean`` counts each engine alike instead."""

    name: ConditionName
    tpr_engine_mean: float


class EngineRow(Figures):
    """The faces of one engine in the split that was held out."""

    engine: str
    in_training: bool


class Cohort(_Part):
    """The reals of the held-out split with one value in one column of the manifest."""

    column: str
    value: str
    reals: int
    flagged: int
    fpr: float
    low: float
    high: float


class LeftOut(Figures):
    """The held-out faces of one engine, judged by a head that was fitted without that engine, at its own threshold."""

    engine: str
    steps: int
    threshold: float


class Evaluation(_Part):
    """One checkpoint on one manifest.

    ``fpr_interval`` says how ``fpr_low`` and ``fpr_high`` were found, see `trainer.judging.intervals`. ``warning`` is there
    when the reals are too few for the target. ``scores`` is ``{split: {engine: ascending scores}}``, rounded to 1e-6,
    the reals under "real" and what is no face under "ENGINE (non-face)".
    """

    format: int = 1
    checkpoint: str
    checkpoint_sha256: str
    manifest_sha256: str
    target_fpr: float
    threshold: float
    threshold_from: Literal["manifest", "card"]
    reals: int
    flagged: int
    fpr: float
    fpr_low: float
    fpr_high: float
    fpr_interval: Literal["order statistic", "wilson"]
    smallest_fpr: float
    warning: str | None
    conditions: tuple[Condition, ...]
    engines: tuple[EngineRow, ...]
    cohorts: tuple[Cohort, ...]
    leave_one_engine_out: tuple[LeftOut, ...] | None = None
    scores: dict[str, dict[str, tuple[float, ...]]]

    @classmethod
    def read(cls, path: Path) -> Self:
        """An evaluation from its ``metrics.json``; raises `TrainerError` for any other file."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise TrainerError(f"{path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise TrainerError(f"{path} is no evaluation: {error.error_count()} fields are wrong") from error

    def with_left_out(self, rows: tuple[LeftOut, ...]) -> Self:
        """The same, with what was found by leaving engines out."""
        return self.model_copy(update={"leave_one_engine_out": rows})

    def write(self, path: Path) -> None:
        """Write it, atomically: the same evaluation is the same bytes."""
        part = path.with_name(f".{path.name}.part")
        part.write_text(json.dumps(self.model_dump(mode="json"), indent=1) + "\n")
        part.replace(path)
