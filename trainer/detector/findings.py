"""What was found out about a detector after its fit, as its card carries it. Readable without torch.

Rates are shares from 0 to 1.
"""

from trainer.detector.fields import Count, Name, Part, Sha256, Share, Text, Threshold

#: Below this share of what it finds in photos as they are, a detector sees next to nothing.
_SEES = 0.25


class Degraded(Part):
    """All engines together under one degradation of ``trainer.judging.sweeps``.

    ``tpr`` and ``fpr`` are at the threshold set on photos as they are, ``refitted_tpr`` at one set on reals degraded
    alike.
    """

    kind: Name
    level: int
    tpr: Share
    refitted_tpr: Share
    fpr: Share


class Sweep(Part):
    """What degradations do: so many ``reals`` and ``fakes``, at a ``threshold`` for the target on these reals."""

    target_fpr: Share
    threshold: Threshold
    reals: Count
    fakes: Count
    rows: tuple[Degraded, ...]

    @property
    def smallest_side(self) -> int:
        """The smallest side of photos that it was tried on and still sees something in; 0 when none was tried."""
        whole = next((row.tpr for row in self.rows if row.kind == "native"), 1.0)
        seen = [row.level for row in self.rows if row.kind == "resize" and row.tpr >= _SEES * whole]
        return min(seen, default=0)


class Unknown(Part):
    """Faces of an engine that the same training was not shown, with the 95 % interval of the share found."""

    engine: Name
    fakes: Count
    tpr: Share
    tpr_low: Share
    tpr_high: Share
    auc: Share


class Findings(Part):
    """``judged_sha256`` is the SHA-256 of the file that was judged: what it carries now has changed the file's own.

    ``experiments`` are rows of text: what else was tried, and what that gave.
    """

    judged_sha256: Sha256
    robustness: Sweep | None = None
    leave_one_engine_out: tuple[Unknown, ...] = ()
    experiments: tuple[Text, ...] = ()
