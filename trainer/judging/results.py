"""What ``metrics.json`` and ``robustness.json`` hold: enough to draw a report, without the detector. No torch here.

Rates are shares from 0 to 1; intervals are at 95 %. Scores at or above the threshold are flagged.
"""

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, computed_field

from db.stats.intervals import Estimate, wilson
from trainer.errors import TrainerError
from trainer.files import atomic_write, read_bounded

_MOST_BYTES = 200_000_000

#: The name of the real photos in `Evaluation.scores`.
REALS = "real"

#: What rows of a robustness sweep call all engines together.
ALL_ENGINES = "all"

DegradationKind = Literal["native", "resize", "jpeg", "mirror", "flip"]

#: The rows of the paper's Table 2.
ConditionName = Literal["training", "in-engine", "out-of-engine", "non-face"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _ResultFile(_Record):
    """A result that is a file of its own."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """The result in a file that `write` wrote; raises `TrainerError` for any other file."""
        try:
            return cls.model_validate_json(read_bounded(path, _MOST_BYTES))
        except OSError as error:
            raise TrainerError(f"{path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            what = f"{cls.__name__.lower()} result"
            raise TrainerError(f"{path} is not a valid {what}: {error.error_count()} fields are wrong") from error

    def as_json(self) -> str:
        """The result as the text of its file, which `write` ends with a newline."""
        raise NotImplementedError

    def write(self, path: Path) -> None:
        """Write the file atomically: readers see the old file or the new one."""
        with atomic_write(path) as part:
            part.write_text(self.as_json() + "\n", encoding="utf-8")


class DetectionMetrics(_Record):
    """Metrics of some fakes against the reals of their split, at the evaluation's threshold.

    ``f1`` is for ``ratio`` fakes to each real: 1, as in the paper, whatever the counts are here.
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


class ConditionRow(DetectionMetrics):
    """A row of the paper's Table 2, its pictures pooled; ``tpr_engine_mean`` weights engines equally instead."""

    name: ConditionName
    tpr_engine_mean: float


class EngineRow(DetectionMetrics):
    """The faces of one engine in the held-out split."""

    engine: str
    in_training: bool


class GroupRow(DetectionMetrics):
    """The held-out faces of one family or source, against all held-out reals."""

    name: str


class CohortRow(_Record):
    """The held-out reals with one value in one column of the manifest."""

    column: str
    value: str
    reals: int
    flagged: int
    fpr: float
    low: float
    high: float


class CertifiedRow(_Record):
    """The threshold whose true FPR is at most the target with ``confidence``: see `db.stats.certification`.

    It may flag ``allowed`` of the held-out reals, and its true FPR is at most ``bound``. ``tpr``: by engine.
    """

    confidence: float
    allowed: int
    threshold: float
    bound: float
    tpr: dict[str, float]


#: What `LeftOutRow` rows leave out.
LeftOutKind = Literal["family", "engine", "source"]


class LeftOutRow(_Record):
    """Fakes of one family, engine or source, scored by heads fitted without it, at a threshold certified for these.

    ``reals`` set the threshold; no head was fitted on any picture of their sources. ``empirical_tpr`` is at the plain
    order statistic, which keeps to the target only about half of the time.
    """

    kind: LeftOutKind
    name: str
    fakes: int
    reals: int
    threshold: float
    tpr: float
    tpr_low: float
    tpr_high: float
    fpr: float
    empirical_tpr: float
    auc: float


class RealSourceRow(_Record):
    """Reals of one source, scored by a head that was fitted without it."""

    source: str
    reals: int
    flagged: int
    fpr: float
    fpr_low: float
    fpr_high: float


class LeftOut(_Record):
    """What is found, and who is accused, of what was left out of the same training; reals in ``folds`` parts."""

    folds: int
    target_fpr: float
    fakes: tuple[LeftOutRow, ...]
    reals: tuple[RealSourceRow, ...]


class Confusion(_Record):
    """Counts at the threshold: of held-out reals, and of held-out fakes that show faces."""

    reals_flagged: int
    reals_passed: int
    fakes_flagged: int
    fakes_passed: int


class Evaluation(_ResultFile):
    """One checkpoint on one manifest.

    ``fpr_interval`` names the method of ``fpr_low`` and ``fpr_high``, see `db.stats.intervals`. With 95 % confidence
    the true FPR is at most ``fpr_bound``. ``certified`` is the threshold of which that is the target; None with fewer
    reals than ``certifies_from``. ``warning`` is set when the reals are too few for the target. ``scores`` is
    ``{split: {engine: ascending scores}}``, rounded to 1e-6, the reals under "real" and non-faces under
    "ENGINE (non-face)".
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
    fpr_bound: float | None = None
    certified: CertifiedRow | None = None
    certifies_from: int | None = None
    smallest_fpr: float
    warning: str | None
    conditions: tuple[ConditionRow, ...]
    engines: tuple[EngineRow, ...]
    families: tuple[GroupRow, ...] = ()
    sources: tuple[GroupRow, ...] = ()
    cohorts: tuple[CohortRow, ...]
    left_out: LeftOut | None = None
    scores: dict[str, dict[str, tuple[float, ...]]]
    #: How many rows of the manifest were left out because their files cannot be used.
    skipped: int = 0

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated properties
    @property
    def confusion(self) -> Confusion:
        """The confusion at the threshold, all engines together."""
        fakes = sum(row.fakes for row in self.engines)
        found = sum(round(row.tpr * row.fakes) for row in self.engines)
        return Confusion(
            reals_flagged=self.flagged,
            reals_passed=self.reals - self.flagged,
            fakes_flagged=found,
            fakes_passed=fakes - found,
        )

    def with_left_out(self, found: LeftOut) -> Self:
        """The same evaluation with the results of leaving families, engines or sources out."""
        return self.model_copy(update={"left_out": found})

    def as_json(self) -> str:
        """The file's text: the same evaluation is the same bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1)


class RobustnessRow(_Record):
    """One engine, or "all" of them, under one degradation.

    ``level`` is pixels for resize, quality for jpeg, and 0 for others. ``fpr`` is of the reals under the same one.
    """

    kind: DegradationKind
    level: int
    engine: str
    tpr: float
    fpr: float
    refitted_tpr: float
    n: int

    @property
    def tpr_interval(self) -> Estimate:
        """The TPR at the kept threshold with its interval."""
        return wilson(round(self.tpr * self.n), self.n)

    @property
    def refitted_interval(self) -> Estimate:
        """The TPR at the refitted threshold with its interval, which takes the threshold as given."""
        return wilson(round(self.refitted_tpr * self.n), self.n)

    def fpr_interval(self, reals: int) -> Estimate:
        """The FPR on ``reals`` photos with its interval."""
        return wilson(round(self.fpr * reals), reals)


class Robustness(_ResultFile):
    """A sweep over degradations: ``threshold`` flags at most ``target_fpr`` of the undegraded ``reals``."""

    checkpoint: str = ""
    checkpoint_sha256: str = ""
    manifest_sha256: str = ""
    split: str
    limit: int | None = None
    target_fpr: float
    threshold: float
    reals: int
    #: Set when the reals are too few for the target, as in an `Evaluation`.
    warning: str | None = None
    skipped: int = 0
    rows: tuple[RobustnessRow, ...]

    def as_json(self) -> str:
        """The file's text: the same sweep is the same bytes."""
        return self.model_dump_json(indent=1)

    def rows_of(self, kind: DegradationKind | None, engine: str = ALL_ENGINES) -> list[RobustnessRow]:
        """One engine's rows under one degradation (None: under all of them), in the order of the sweep."""
        return [row for row in self.rows if row.engine == engine and kind in (None, row.kind)]

    @property
    def engines(self) -> list[str]:
        """The engines, sorted by name, without "all"."""
        return sorted({row.engine for row in self.rows} - {ALL_ENGINES})
