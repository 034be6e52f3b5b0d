"""Flagged accounts, and what people decided about them."""

from datetime import datetime

from sqlalchemy import ForeignKey, Identity, Index, String, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.clock import now
from db.schema.base import ID_LENGTH, Base, BigId, one_of

CASE_STATES = ("open", "confirmed", "dismissed", "withdrawn")
DECISIONS = ("confirmed", "dismissed", "unsure", "undone")


class Case(Base):
    """An account that was flagged under a policy, for people to decide; at most one open at a time."""

    __tablename__ = "cases"
    __table_args__ = (
        one_of("state", CASE_STATES),
        Index(
            "uq_cases_open",
            "account_id",
            "policy",
            unique=True,
            postgresql_where=text("state = 'open'"),
            sqlite_where=text("state = 'open'"),
        ),
        Index("ix_cases_state", "state", "policy", "created_at"),
        Index("ix_cases_state_created_at", "state", "created_at", "id"),
        Index("ix_cases_state_highest", "state", "highest", "id"),
        Index("ix_cases_state_policy_highest", "state", "policy", "highest", "id"),
        # LIKE 'prefix%' searches by it, whatever the database's collation.
        Index("ix_cases_account_id", "account_id", postgresql_ops={"account_id": "text_pattern_ops"}),
        Index(
            "ix_cases_held",
            "held_by",
            postgresql_where=text("held_by IS NOT NULL"),
            sqlite_where=text("held_by IS NOT NULL"),
        ),
        Index("ix_cases_second", "id", postgresql_where=text("second"), sqlite_where=text("second")),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    account_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    policy: Mapped[str] = mapped_column(String(ID_LENGTH))
    state: Mapped[str] = mapped_column(String(16), server_default="open")
    #: Counts changes, so that a stale page cannot overwrite a newer decision.
    version: Mapped[int] = mapped_column(server_default="1")
    #: Why it was withdrawn.
    reason: Mapped[str | None]
    #: Of its flags' scores the highest, kept by a trigger of the database's: queues and lists are in its order.
    highest: Mapped[float] = mapped_column(server_default="0")
    #: Who is looking at it, and until when nobody else may decide it.
    held_by: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    held_until: Mapped[datetime | None]
    #: Somebody decided and it is still open: it waits for a second person.
    second: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    changed_at: Mapped[datetime] = mapped_column(server_default=now())


class Flag(Base):
    """A photo of a case: its score was at or above the threshold."""

    __tablename__ = "flags"
    __table_args__ = (
        UniqueConstraint("case_id", "score_id"),
        Index("ix_flags_score_id", "score_id"),
        Index("ix_flags_image_id", "image_id"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    score_id: Mapped[int] = mapped_column(ForeignKey("scores.id"))
    threshold_id: Mapped[int] = mapped_column(ForeignKey("thresholds.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Review(Base):
    """What a person decided about a case, and whether they saw the score when they did. Append-only."""

    __tablename__ = "reviews"
    __table_args__ = (
        one_of("decision", DECISIONS),
        Index("ix_reviews_case_id", "case_id"),
        Index("ix_reviews_reviewer", "reviewer", "case_id"),
        Index("uq_reviews_undoes", "undoes", unique=True),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    reviewer: Mapped[str] = mapped_column(String(ID_LENGTH))
    decision: Mapped[str] = mapped_column(String(16))
    #: A code of a list that the platform chooses, and whatever else is to be said.
    reason: Mapped[str | None] = mapped_column(String(64))
    note: Mapped[str | None]
    blind: Mapped[bool]
    #: The decision that this one takes back; each once. No foreign key: SQLite adds none to a table that is there.
    undoes: Mapped[int | None] = mapped_column(BigId)
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Appeal(Base):
    """Somebody asked for another decision: the case is open again, and others decide."""

    __tablename__ = "appeals"
    __table_args__ = (UniqueConstraint("review_id"), Index("ix_appeals_case_id", "case_id"))

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    #: The decision that it is about; it and those before it no longer count.
    review_id: Mapped[int] = mapped_column(ForeignKey("reviews.id"))
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    #: Null once the account was erased: it may be its owner's words.
    reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())
