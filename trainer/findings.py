"""What was found out about a detector after its fit, as its card carries it. Readable without torch.

Rates are shares from 0 to 1.
"""

from pydantic import BaseModel, ConfigDict, Field

#: Below this share of what it finds in photos as they are, a detector sees next to nothing.
_SEES = 0.25


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Degraded(_Part):
    """All engines together under one degradation of ``trainer.sweeps``.

    ``tpr`` and ``fpr`` are at the threshold set on photos as they are, ``refitted_tpr`` at one set on reals degraded
    alike.
    """

    kind: str
    level: int
    tpr: float
    refitted_tpr: float
    fpr: float


class Sweep(_Part):
    """What degradations do: so many ``reals`` and ``fakes``, at a ``threshold`` for the target on these reals."""

    target_fpr: float
    threshold: float
    reals: int
    fakes: int
    rows: tuple[Degraded, ...]

    @property
    def smallest_side(self) -> int:
        """The smallest side of photos that it was tried on and still sees something in; 0 when none was tried."""
        whole = next((row.tpr for row in self.rows if row.kind == "native"), 1.0)
        seen = [row.level for row in self.rows if row.kind == "resize" and row.tpr >= _SEES * whole]
        return min(seen, default=0)


class Unknown(_Part):
    """Faces of an engine that the same training was not shown, with the 95 % interval of the share found."""

    engine: str
    fakes: int
    tpr: float
    tpr_low: float
    tpr_high: float
    auc: float


class Findings(_Part):
    """``judged_sha256`` is the SHA-256 of the file that was judged: what it carries now has changed the file's own.

    ``experiments`` are rows of text: what else was tried, and what that gave.
    """

    judged_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    robustness: Sweep | None = None
    leave_one_engine_out: tuple[Unknown, ...] = ()
    experiments: tuple[str, ...] = ()
