"""From where on a policy flags, and what is stopped."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, false
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.clock import now
from db.schema.base import ID_LENGTH, Base, length, one_of

PAUSABLE = ("flagging", "scoring")


class Threshold(Base):
    """From which score on a policy flags; the latest row of a policy and model version holds. Append-only."""

    __tablename__ = "thresholds"
    __table_args__ = (
        Index("ix_thresholds_policy_version_id", "policy", "version_id", "id"),
        CheckConstraint("value >= 0 AND value <= 1", name="value"),
        length("policy"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    policy: Mapped[str] = mapped_column(String(ID_LENGTH))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    value: Mapped[float]
    #: The share of real photos that policy accepts to flag, and what was measured on the reference set.
    target_fpr: Mapped[float | None]
    measured_fpr: Mapped[float | None]
    fpr_low: Mapped[float | None]
    fpr_high: Mapped[float | None]
    reals: Mapped[int | None]
    reference: Mapped[str | None]
    #: Set although the reference set is too small to show its FPR.
    forced: Mapped[bool] = mapped_column(server_default=false())
    #: How many cases it opened and withdrew when it was applied.
    opened: Mapped[int | None]
    withdrawn: Mapped[int | None]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Pause(Base):
    """Somebody stopped or resumed flagging or scoring; the latest row of each holds. Append-only."""

    __tablename__ = "pauses"
    __table_args__ = (one_of("what", PAUSABLE),)

    id: Mapped[int] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(String(16))
    paused: Mapped[bool]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=now())
