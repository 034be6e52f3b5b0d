"""Cases of flagged accounts, and what reviewers decided about them."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, String, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.base import ID_LENGTH, Base, BigId, between, length, one_of, prefix_index
from db.schema.clock import now

CASE_STATES = ("open", "confirmed", "dismissed", "withdrawn")
#: Characters of the facts about an account.
FACTS_LENGTH = 16_384
DECISIONS = ("confirmed", "dismissed", "unsure", "undone")
#: The priority of a case that nobody has ranked yet: after urgent cases, and before all others (`db.queue.ranking`).
UNRANKED = 500_000


class Case(Base):
    """An account that was flagged under a policy, for people to decide; at most one open at a time."""

    __tablename__ = "cases"
    __table_args__ = (
        one_of("state", CASE_STATES),
        between("highest", 0, 1),
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
        Index("ix_cases_state_priority", "state", "priority", "id"),
        Index("ix_cases_state_policy_priority", "state", "policy", "priority", "id"),
        prefix_index("cases", "account_id"),
        # LIKE 'prefix%' uses this index, whatever the database's collation.
        Index("ix_cases_account_id", "account_id", postgresql_ops={"account_id": "text_pattern_ops"}),
        Index(
            "ix_cases_held",
            "held_by",
            postgresql_where=text("held_by IS NOT NULL"),
            sqlite_where=text("held_by IS NOT NULL"),
        ),
        Index("ix_cases_disputed", "id", postgresql_where=text("disputed"), sqlite_where=text("disputed")),
        Index("ix_cases_second", "id", postgresql_where=text("second"), sqlite_where=text("second")),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    account_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    policy: Mapped[str] = mapped_column(String(ID_LENGTH))
    state: Mapped[str] = mapped_column(String(16), server_default="open")
    #: Counts changes, so that a stale page cannot overwrite a newer decision.
    version: Mapped[int] = mapped_column(server_default="1")
    #: Why it was withdrawn, with the author of the change.
    reason: Mapped[str | None]
    #: The highest score of its flags, kept by a trigger: queues and lists are sorted by it.
    highest: Mapped[float] = mapped_column(server_default="0")
    #: What the default order sorts by, and its parts: the chance that the account is fake, and how many accounts share
    #: its photos.
    priority: Mapped[float] = mapped_column(server_default=str(UNRANKED))
    chance: Mapped[float | None]
    sharing: Mapped[int] = mapped_column(server_default="1")
    #: Who holds it, and until when nobody else can decide it.
    held_by: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    held_until: Mapped[datetime | None]
    #: One reviewer called it AI-generated, and another real; kept by a trigger.
    disputed: Mapped[bool] = mapped_column(server_default=false())
    #: Somebody has decided and it is still open: it waits for a second person.
    second: Mapped[bool] = mapped_column(server_default=false())
    #: Why only leads decide it and see its pictures; null: everybody does.
    restricted: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    changed_at: Mapped[datetime] = mapped_column(server_default=now())


class Flag(Base):
    """A photo of a case, and why: its score was at or above the threshold, or a signal of its policy says so.

    An unstable photo is one of its case, for a person to see, and is not flagged.
    """

    __tablename__ = "flags"
    __table_args__ = (
        UniqueConstraint("case_id", "score_id"),
        length("kind", 64),
        CheckConstraint("threshold_id IS NOT NULL OR evidence IS NOT NULL", name="proof"),
        Index("ix_flags_score_id", "score_id"),
        Index("ix_flags_image_id", "image_id"),
        Index("ix_flags_threshold_id", "threshold_id", "case_id"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    score_id: Mapped[int] = mapped_column(ForeignKey("scores.id"))
    #: Null when its score alone would not have flagged it.
    threshold_id: Mapped[int | None] = mapped_column(ForeignKey("thresholds.id"))
    #: What raised it: "score", "provenance", or "score+provenance"; "unstable" is no flag.
    kind: Mapped[str] = mapped_column(String(64), server_default="score")
    #: The signal that raised it, in words; null when only its score did.
    evidence: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Review(Base):
    """A reviewer's decision about a case, and whether they decided without seeing the score. Append-only."""

    __tablename__ = "reviews"
    __table_args__ = (
        one_of("decision", DECISIONS),
        Index("ix_reviews_case_id", "case_id"),
        Index("ix_reviews_reviewer", "reviewer", "case_id"),
        Index("ix_reviews_created_at", "created_at", "id"),
        Index("uq_reviews_undoes", "undoes", unique=True),
        Index(
            "ix_reviews_batch",
            "batch",
            postgresql_where=text("batch IS NOT NULL"),
            sqlite_where=text("batch IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    reviewer: Mapped[str] = mapped_column(String(ID_LENGTH))
    decision: Mapped[str] = mapped_column(String(16))
    #: A code from a list that the platform chooses, and free text.
    reason: Mapped[str | None] = mapped_column(String(64))
    note: Mapped[str | None]
    blind: Mapped[bool]
    #: The decision that this one undoes; each at most once. No foreign key: SQLite cannot add one to an existing table.
    undoes: Mapped[int | None] = mapped_column(BigId)
    #: What decisions that were made together have in common.
    batch: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Appeal(Base):
    """A request for another decision: the case is open again, and other reviewers decide."""

    __tablename__ = "appeals"
    __table_args__ = (UniqueConstraint("review_id"), Index("ix_appeals_case_id", "case_id"))

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    #: The decision appealed against; it and earlier ones no longer count.
    review_id: Mapped[int] = mapped_column(ForeignKey("reviews.id"))
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    #: Null once the account was erased: it may hold the owner's words.
    reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class SavedView(Base):
    """Filters and order of the queue under a name: its author's own, or shared with everybody."""

    __tablename__ = "saved_views"
    __table_args__ = (UniqueConstraint("author", "name"), length("name", 64))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    shared: Mapped[bool] = mapped_column(server_default=false())
    #: The query of the queue's URL.
    query: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Comment(Base):
    """What a member of the team wrote about a case for the others; null ``text``: erased with the account."""

    __tablename__ = "comments"
    __table_args__ = (Index("ix_comments_case_id", "case_id"),)

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    text: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Restriction(Base):
    """A case became one that only leads decide and see, and why; null ``reason``: a lead opened it to all again."""

    __tablename__ = "restrictions"
    __table_args__ = (Index("ix_restrictions_case_id", "case_id"),)

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    reason: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class AccountFacts(Base):
    """What the platform says of an account, a JSON object, for reviewers: ``INSERT INTO account_facts`` is enough."""

    __tablename__ = "account_facts"
    __table_args__ = (length("account_id"), length("facts", FACTS_LENGTH))

    account_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    facts: Mapped[str]
    changed_at: Mapped[datetime] = mapped_column(server_default=now())
