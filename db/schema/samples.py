"""Random samples that reviewers judge without seeing scores."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, String, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.base import ID_LENGTH, Base, BigId, one_of
from db.schema.clock import now

STRATA = ("flagged", "below", "unflagged")
VERDICTS = ("fake", "real", "unsure")
UNDONE = "undone"


class Draw(Base):
    """A random draw from the photos of one policy, window and range of scores, and how many there were."""

    __tablename__ = "draws"
    __table_args__ = (one_of("stratum", STRATA), Index("ix_draws_policy", "policy", "version_id", "until"))

    id: Mapped[int] = mapped_column(primary_key=True)
    policy: Mapped[str] = mapped_column(String(ID_LENGTH))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    #: The threshold that flagged them, and the range of scores drawn from: ``low`` to below ``high``.
    threshold_id: Mapped[int] = mapped_column(ForeignKey("thresholds.id"))
    stratum: Mapped[str] = mapped_column(String(16))
    low: Mapped[float]
    high: Mapped[float]
    #: Photos added from ``since`` to before ``until``, at most a week.
    since: Mapped[datetime]
    until: Mapped[datetime]
    population: Mapped[int]
    drawn: Mapped[int]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Sample(Base):
    """A sampled photo, shown to reviewers without its score."""

    __tablename__ = "samples"
    __table_args__ = (
        UniqueConstraint("score_id"),
        Index("ix_samples_draw_id", "draw_id"),
        Index("ix_samples_image_id", "image_id"),
        Index("ix_samples_open", "id", postgresql_where=text("NOT judged"), sqlite_where=text("NOT judged")),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    draw_id: Mapped[int] = mapped_column(ForeignKey("draws.id"))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    score_id: Mapped[int] = mapped_column(ForeignKey("scores.id"))
    #: The probability with which it was drawn.
    probability: Mapped[float]
    held_by: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    held_until: Mapped[datetime | None]
    #: It has a sure verdict.
    judged: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Verdict(Base):
    """A reviewer's verdict on a sampled photo, given without its score. Append-only: an undo is a row, too."""

    __tablename__ = "verdicts"
    __table_args__ = (
        one_of("verdict", (*VERDICTS, UNDONE)),
        UniqueConstraint("sample_id", "reviewer", "turn"),
        Index("uq_verdicts_undoes", "undoes", unique=True),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    sample_id: Mapped[int] = mapped_column(ForeignKey("samples.id"))
    reviewer: Mapped[str] = mapped_column(String(ID_LENGTH))
    verdict: Mapped[str] = mapped_column(String(16))
    #: How many rows this reviewer had added about the sample before.
    turn: Mapped[int] = mapped_column(server_default="0")
    #: The verdict that this row undoes; each at most once.
    undoes: Mapped[int | None] = mapped_column(BigId)
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class GoldenItem(Base):
    """A sample whose true verdict a lead knows: it is mixed in among the others to measure reviewers."""

    __tablename__ = "golden_items"
    __table_args__ = (one_of("verdict", ("fake", "real")),)

    sample_id: Mapped[int] = mapped_column(ForeignKey("samples.id"), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(16))
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class GoldenShare(Base):
    """The share of golden items among the samples that reviewers judge; the latest row is in effect."""

    __tablename__ = "golden_shares"
    __table_args__ = (CheckConstraint("share BETWEEN 0 AND 0.5", name="share"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    share: Mapped[float]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())
