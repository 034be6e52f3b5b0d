"""What was found out about a detector after its fit, as its card carries it. Readable without torch.

Rates are shares from 0 to 1.
"""

from pydantic import BaseModel, ConfigDict, Field


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
