"""Policies, their thresholds and certificates, and pauses of flagging or scoring."""

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Identity, Index, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.base import ID_LENGTH, Base, BigId, between, length, one_of
from db.schema.clock import now

PAUSABLE = ("flagging", "scoring")
#: How a threshold was chosen: by a certified FPR (of the reals, or of each of their cohorts), by the plain share of the
#: reals that it flags, or by its score.
THRESHOLD_RULES = ("certified", "certified_by_cohort", "empirical", "value")
EXPIRY_EVIDENCE = ("verdicts", "drift")
#: How many signals must agree before a policy flags a photo.
KEYS = ("one", "two")
#: What a policy does with photos whose score crosses the threshold when they are delivered again.
STABILITIES = ("off", "note")


class Policy(Base):
    """A name under which photos are judged by one threshold; never deleted; images of others are refused."""

    __tablename__ = "policies"
    __table_args__ = (
        length("name"),
        CheckConstraint("weight BETWEEN 1 AND 1000", name="weight"),
        CheckConstraint("max_fpr > 0 AND max_fpr <= 1", name="max_fpr"),
        one_of("keys", KEYS),
        one_of("stability", STABILITIES),
    )

    name: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    #: Its share of the workers beside other policies whose photos wait.
    weight: Mapped[int] = mapped_column(server_default="1")
    #: The highest FPR that its thresholds may have; null: that of the settings.
    max_fpr: Mapped[float | None]
    #: "two": it accepts only model versions that fuse two detectors.
    keys: Mapped[str] = mapped_column(String(8), server_default="one")
    #: Within how many seconds people want each case decided; null: no target.
    target_s: Mapped[float | None]
    reason: Mapped[str] = mapped_column(server_default="")
    #: What happens to photos with a kind of signal: `db.policy.signal_actions`. Kinds that it does not name follow the
    #: policy "default".
    signal_actions: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    #: One of `STABILITIES`; null: that of the policy "default", which is off unless it says more.
    stability: Mapped[str | None] = mapped_column(String(8))
    created_by: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Threshold(Base):
    """From which score on a policy flags; the latest row of a policy and model version is in effect. Append-only."""

    __tablename__ = "thresholds"
    __table_args__ = (
        Index("ix_thresholds_policy_version_id", "policy", "version_id", "id"),
        CheckConstraint("value >= 0 AND value <= 1", name="value"),
        *(between(rate, 0, 1) for rate in ("target_fpr", "measured_fpr", "fpr_low", "fpr_high")),
        length("policy"),
        one_of("rule", THRESHOLD_RULES),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    policy: Mapped[str] = mapped_column(String(ID_LENGTH))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    value: Mapped[float]
    #: The share of real photos that policy accepts to flag, and the share measured on the reference set.
    target_fpr: Mapped[float | None]
    measured_fpr: Mapped[float | None]
    fpr_low: Mapped[float | None]
    fpr_high: Mapped[float | None]
    reals: Mapped[int | None]
    reference: Mapped[str | None]
    #: How it was chosen, one of `THRESHOLD_RULES`; null for thresholds of releases that knew only the last two.
    rule: Mapped[str | None] = mapped_column(String(32))
    #: With this confidence the true FPR is at most ``fpr_bound``, if it flags at most ``allowed`` of the reals.
    confidence: Mapped[float | None]
    allowed: Mapped[int | None]
    fpr_bound: Mapped[float | None]
    #: The cohort of the reference set with the highest bound, as "column: value"; all cohorts' bounds hold together.
    worst_cohort: Mapped[str | None]
    worst_cohort_bound: Mapped[float | None]
    #: Set although the reference set is too small to show this FPR.
    forced: Mapped[bool] = mapped_column(server_default=false())
    #: The id of the older threshold that it sets again: a rollback.
    restores: Mapped[int | None]
    #: How many cases it opened and withdrew when it was set.
    opened: Mapped[int | None]
    withdrawn: Mapped[int | None]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Expiry(Base):
    """A threshold's certificate no longer holds for photos of a policy, on this evidence. Append-only."""

    __tablename__ = "expiries"
    __table_args__ = (one_of("evidence", EXPIRY_EVIDENCE), UniqueConstraint("threshold_id", "policy", "evidence"))

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    threshold_id: Mapped[int] = mapped_column(ForeignKey("thresholds.id"))
    #: Photos of this policy gave the evidence: a policy without a threshold uses "default"'s.
    policy: Mapped[str] = mapped_column(String(ID_LENGTH))
    evidence: Mapped[str] = mapped_column(String(16))
    #: The evidence, as a sentence for people.
    detail: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Pause(Base):
    """Somebody paused or resumed flagging or scoring; the latest row of each is in effect. Append-only."""

    __tablename__ = "pauses"
    __table_args__ = (one_of("what", PAUSABLE),)

    id: Mapped[int] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(String(16))
    paused: Mapped[bool]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=now())
