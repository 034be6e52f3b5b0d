"""Model versions, their scores and reference sets, and which was active when."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Identity, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.base import ID_LENGTH, Base, BigId, between, length, one_of
from db.schema.clock import now

VERSION_STATES = ("candidate", "shadow", "active", "retired")
RESCORE_STATES = ("running", "done", "stopped")
PROJECTION_KINDS = ("flagged", "high", "sample")
#: `trainer.detector.projection` has as many numbers; db knows no trainer.
PROJECTION_BYTES = 64


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
    #: Since when it is the shadow, which scores beside the active version without flagging; null when it is not.
    shadow_since: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Score(Base):
    """A model version's score of an image: 0 real, 1 AI-generated. Append-only."""

    __tablename__ = "scores"
    __table_args__ = (
        UniqueConstraint("image_id", "version_id"),
        CheckConstraint("score >= 0 AND score <= 1", name="score"),
        CheckConstraint("low >= 0 AND low <= score", name="low"),
        CheckConstraint("high >= score AND high <= 1", name="high"),
        CheckConstraint("deliveries > 0", name="deliveries"),
        Index("ix_scores_version_id_score", "version_id", "score"),
        Index(
            "ix_scores_version_id_high",
            "version_id",
            "high",
            postgresql_where=text("high IS NOT NULL"),
            sqlite_where=text("high IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    score: Mapped[float]
    #: The lowest and the highest score of this delivery and of so many others of the same photo, made by a version of
    #: the recipe; null where nobody measured how stable it is (`db.stats.stability`).
    low: Mapped[float | None]
    high: Mapped[float | None]
    deliveries: Mapped[int | None]
    recipe: Mapped[int | None]
    engine: Mapped[str] = mapped_column(String(64))
    device: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Projection(Base):
    """A photo's projected embedding (see `db.models.projections`); erased with the account, and after its period."""

    __tablename__ = "projections"
    __table_args__ = (
        UniqueConstraint("image_id", "version_id"),
        one_of("kind", PROJECTION_KINDS),
        CheckConstraint(f"length(projection) = {PROJECTION_BYTES}", name="projection_length"),
        Index("ix_projections_version_id_kept_at", "version_id", "kept_at"),
        Index("ix_projections_kept_at", "kept_at"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    #: Why it is kept: the photo was flagged, its score is among the highest, or chance chose it.
    kind: Mapped[str] = mapped_column(String(16))
    #: A signed byte for each number.
    projection: Mapped[bytes] = mapped_column(LargeBinary)
    kept_at: Mapped[datetime] = mapped_column(server_default=now())


class Promotion(Base):
    """A switch of the active version: from which to which, who did it, and what it did to cases. Append-only."""

    __tablename__ = "promotions"
    __table_args__ = (one_of("kind", ("promote", "rollback")),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    from_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    to_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    #: The latest score at the switch: a rollback looks at those after it.
    last_score_id: Mapped[int] = mapped_column(BigId)
    #: The accepted fall of any engine's true positive rate; null for a rollback.
    max_drop: Mapped[float | None]
    opened: Mapped[int]
    withdrawn: Mapped[int]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class ReferenceSet(Base):
    """A version's scores of a named set of real photos. Append-only: thresholds refer to it by name."""

    __tablename__ = "reference_sets"
    __table_args__ = (UniqueConstraint("name", "version_id"), length("name"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    reals: Mapped[int]
    #: Ascending, packed by `db.models.references`; always read whole, so in one row.
    scores: Mapped[bytes] = mapped_column(LargeBinary)
    #: Which scores belong to which cohort, packed there, too; null where the photos have no cohorts.
    cohorts: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Where the photos came from, and a digest over the set: one name stands for one set.
    source: Mapped[str]
    digest: Mapped[str] = mapped_column(String(64))
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Rescore(Base):
    """A backfill: a version scores images that others scored. Idle workers lease a few at a time."""

    __tablename__ = "rescores"
    __table_args__ = (
        one_of("state", RESCORE_STATES),
        between("rate_per_s", 0.001, 1_000_000),
        Index("ix_rescores_state", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    #: Which images: of this policy, added since then; null: all.
    policy: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    since: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(16), server_default="running")
    #: Images a second, for all workers together, and when the next may be leased.
    rate_per_s: Mapped[float]
    next_at: Mapped[datetime] = mapped_column(server_default=now())
    #: The last image that was leased, and how many leased ones are unreported: when some are left at the end, their
    #: worker died, and another pass begins.
    cursor: Mapped[str] = mapped_column(String(ID_LENGTH), server_default="")
    in_hand: Mapped[int] = mapped_column(server_default="0")
    passes: Mapped[int] = mapped_column(server_default="1")
    scored: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    changed_at: Mapped[datetime] = mapped_column(server_default=now())
