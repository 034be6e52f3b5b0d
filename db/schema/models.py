"""Model versions, what they said, and how they took turns."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Identity, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.clock import now
from db.schema.base import ID_LENGTH, Base, BigId, length, one_of

VERSION_STATES = ("candidate", "shadow", "active", "retired")
RESCORE_STATES = ("running", "done", "stopped")


class ModelVersion(Base):
    """A registered checkpoint; its file is ``<sha256>.safetensors`` in the models directory."""

    __tablename__ = "model_versions"
    __table_args__ = (
        one_of("state", VERSION_STATES),
        UniqueConstraint("name"),
        UniqueConstraint("sha256"),
        Index(
            "uq_model_versions_active",
            "state",
            unique=True,
            postgresql_where=text("state = 'active'"),
            sqlite_where=text("state = 'active'"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    sha256: Mapped[str] = mapped_column(String(64))
    preprocess: Mapped[str] = mapped_column(String(ID_LENGTH))
    card: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16), server_default="candidate")
    #: Since when workers score with it beside the active one, without flagging; null when they do not.
    shadow_since: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Score(Base):
    """What a model version said of an image: 0 real, 1 AI-generated. Append-only."""

    __tablename__ = "scores"
    __table_args__ = (
        UniqueConstraint("image_id", "version_id"),
        CheckConstraint("score >= 0 AND score <= 1", name="score"),
        Index("ix_scores_version_id_score", "version_id", "score"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    score: Mapped[float]
    engine: Mapped[str] = mapped_column(String(64))
    device: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Promotion(Base):
    """Which version scored before and after a switch, who switched, and what it did to cases. Append-only."""

    __tablename__ = "promotions"
    __table_args__ = (one_of("kind", ("promote", "rollback")),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    from_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    to_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    #: The latest score at the switch: what comes after it is what a rollback must look at.
    last_score_id: Mapped[int] = mapped_column(BigId)
    #: How much of an engine's true positive rate was accepted to be lost; null for a rollback.
    max_drop: Mapped[float | None]
    opened: Mapped[int]
    withdrawn: Mapped[int]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class ReferenceSet(Base):
    """Scores that a version gave to a named set of real photos. Append-only: thresholds quote it by name."""

    __tablename__ = "reference_sets"
    __table_args__ = (UniqueConstraint("name", "version_id"), length("name"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    reals: Mapped[int]
    #: Ascending, as packed by `db.models.references`: one row, since they are always read whole.
    scores: Mapped[bytes] = mapped_column(LargeBinary)
    #: Where the photos came from, and a digest of which they were: one name stands for one set.
    source: Mapped[str]
    digest: Mapped[str] = mapped_column(String(64))
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Rescore(Base):
    """A backfill: a version is to score images that others scored. Workers take a few at a time when they are idle."""

    __tablename__ = "rescores"
    __table_args__ = (one_of("state", RESCORE_STATES), Index("ix_rescores_state", "state"))

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    #: Which images: of one policy, added since; null: all.
    policy: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    since: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(16), server_default="running")
    #: Images a second, for all workers together, and when the next may be taken.
    rate_per_s: Mapped[float]
    next_at: Mapped[datetime] = mapped_column(server_default=now())
    #: The last image that was given out, and how many of those given out nobody has reported: when some are left at the
    #: end, their worker died, and another pass begins.
    cursor: Mapped[str] = mapped_column(String(ID_LENGTH), server_default="")
    in_hand: Mapped[int] = mapped_column(server_default="0")
    passes: Mapped[int] = mapped_column(server_default="1")
    scored: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    changed_at: Mapped[datetime] = mapped_column(server_default=now())
