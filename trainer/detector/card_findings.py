"""Results about a detector that came after its fit, as its card carries them. Readable without torch.

Rates are shares from 0 to 1.
"""

from pydantic import Field

from trainer.detector.card_fields import CardPart, Count, Name, Sha256, Share, Text, Threshold

#: Below this fraction of its TPR on undegraded photos, a detector finds next to nothing.
_SEES = 0.25


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
