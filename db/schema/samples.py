"""What chance drew for people to judge without scores."""

from datetime import datetime

from sqlalchemy import ForeignKey, Identity, Index, String, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.clock import now
from db.schema.base import ID_LENGTH, Base, BigId, one_of

STRATA = ("flagged", "below", "unflagged")
VERDICTS = ("fake", "real", "unsure")


class Draw(Base):
    """A random sample of what was scored in a while, of one policy and one range of scores, and out of how many."""

    __tablename__ = "draws"
    __table_args__ = (one_of("stratum", STRATA), Index("ix_draws_policy", "policy", "version_id", "until"))

    id: Mapped[int] = mapped_column(primary_key=True)
    policy: Mapped[str] = mapped_column(String(ID_LENGTH))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    #: What was flagged by it, and the scores from ``low`` to below ``high`` that this sample is of.
    threshold_id: Mapped[int] = mapped_column(ForeignKey("thresholds.id"))
    stratum: Mapped[str] = mapped_column(String(16))
    low: Mapped[float]
    high: Mapped[float]
    #: Photos that came in from ``since`` to before ``until``, never more than a week.
    since: Mapped[datetime]
    until: Mapped[datetime]
    population: Mapped[int]
    drawn: Mapped[int]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Sample(Base):
    """A photo that chance drew, to be shown to people without its score."""

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
    #: With which it was drawn.
    probability: Mapped[float]
    held_by: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    held_until: Mapped[datetime | None]
    #: Somebody was sure.
    judged: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Verdict(Base):
    """What a person said of a sampled photo, without knowing its score. Append-only."""

    __tablename__ = "verdicts"
    __table_args__ = (one_of("verdict", VERDICTS), UniqueConstraint("sample_id", "reviewer"))

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    sample_id: Mapped[int] = mapped_column(ForeignKey("samples.id"))
    reviewer: Mapped[str] = mapped_column(String(ID_LENGTH))
    verdict: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(server_default=now())
