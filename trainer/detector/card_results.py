"""How well a detector does, as its card says: its fit's metrics and reference, and findings that came later.

Rates are shares from 0 to 1. Readable without torch.
"""

from typing import Self

from pydantic import Field, model_validator

from trainer.detector.card_fields import CardPart, Count, Name, Sha256, Share, SortedScores, Text, Threshold

#: Below this fraction of its TPR on undegraded photos, a detector finds next to nothing.
_SEES = 0.25


class EngineMetrics(CardPart):
    """Metrics of one synthesis engine's pictures against the reals of the same split."""

    in_training: bool
    fakes: Count
    reals: Count
    auc: Share
    tpr: Share
    f1: Share
    #: Ascending scores of its fakes, at most 200 at even ranks: they give the TPR of any threshold.
    scores: tuple[Share, ...] = ()


class CertifiedQuality(CardPart):
    """With ``confidence``, the true FPR of ``threshold`` is at most ``bound``; it may flag ``allowed`` of the reals.

    ``tpr``: at this threshold, by engine. See `db.stats.certification`.
    """

    confidence: Share
    allowed: Count
    threshold: Threshold
    bound: Share
    tpr: dict[Name, Share]


class Quality(CardPart):
    """Metrics on a held-out split; ``threshold`` flags ``measured_fpr`` of its reals, at most ``target_fpr``.

    This is the empirical rule: with 95 % confidence the true FPR is at most ``fpr_bound``. ``certified`` is the
    threshold whose true FPR is at most ``target_fpr``; None where the reals are too few. ``unseen_sources``: the reals
    are of sources that were not trained on, and ``threshold`` is the certified one.
    """

    split: Name
    target_fpr: Share
    threshold: Threshold
    measured_fpr: Share
    fpr_bound: Share | None = None
    reals: Count
    unseen_sources: bool = False
    engines: dict[Name, EngineMetrics]
    certified: CertifiedQuality | None = None


class CohortValues(CardPart):
    """A column of the reference photos, in the order of their scores: ``of`` are places in ``values``."""

    values: tuple[Name, ...]
    of: tuple[Count, ...]


class Reference(CardPart):
    """Ascending scores of real photos: the false positive rate of a threshold is the share at or above it.

    ``cohorts`` are columns of the manifest that divide the photos, such as their source.
    """

    name: Name
    scores: SortedScores
    cohorts: dict[Name, CohortValues] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _match(self) -> Self:
        for column, cohort in self.cohorts.items():
            if len(cohort.of) != len(self.scores) or not all(number < len(cohort.values) for number in cohort.of):
                raise ValueError(f"cohort column {column!r} does not match the scores")
        return self


class DegradationFinding(CardPart):
    """All engines together under one degradation, as in `trainer.judging.results.RobustnessRow`.

    ``tpr`` and ``fpr`` are at the threshold set on undegraded photos, ``refitted_tpr`` at one set on reals degraded in
    the same way.
    """

    kind: Name
    level: int
    tpr: Share
    refitted_tpr: Share
    fpr: Share


class RobustnessFinding(CardPart):
    """A robustness sweep over ``reals`` and ``fakes``, at the ``threshold`` that these reals give for the target."""

    target_fpr: Share
    threshold: Threshold
    reals: Count
    fakes: Count
    rows: tuple[DegradationFinding, ...]

    @property
    def smallest_side(self) -> int:
        """The smallest side, in pixels, at which the detector still finds faces; 0 when none was tried."""
        whole = next((row.tpr for row in self.rows if row.kind == "native"), 1.0)
        seen = [row.level for row in self.rows if row.kind == "resize" and row.tpr >= _SEES * whole]
        return min(seen, default=0)


class LeftOutFakes(CardPart):
    """Fakes of a family, engine or source that was left out of the same training; the TPR has its 95 % interval.

    ``tpr`` is at a threshold certified for the target FPR, ``empirical_tpr`` at the plain order statistic.
    """

    kind: Name
    name: Name
    fakes: Count
    tpr: Share
    tpr_low: Share
    tpr_high: Share
    empirical_tpr: Share
    auc: Share


class LeftOutReals(CardPart):
    """Reals of a source that was left out of the same training; the FPR has its 95 % interval."""

    source: Name
    reals: Count
    flagged: Count
    fpr: Share
    fpr_low: Share
    fpr_high: Share


class LeftOutFinding(CardPart):
    """What was found, and who was accused, of what was left out of the same training."""

    target_fpr: Share
    folds: Count
    fakes: tuple[LeftOutFakes, ...]
    reals: tuple[LeftOutReals, ...]


class Findings(CardPart):
    """``judged_sha256`` is the SHA-256 of the file that was measured: writing its card has changed the file's own.

    ``fake_scores``: ascending scores of each engine's faces, at most 200 at even ranks: they give the TPR of any
    threshold, where the fit did not keep them in `EngineMetrics`. ``experiments`` are lines of text: what else was
    tried, with its result.
    """

    judged_sha256: Sha256
    robustness: RobustnessFinding | None = None
    fake_scores: dict[Name, tuple[Share, ...]] = Field(default_factory=dict)
    left_out: LeftOutFinding | None = None
    experiments: tuple[Text, ...] = ()
