"""Images, and what is kept and asked for of them."""

from datetime import datetime

from sqlalchemy import ForeignKey, Identity, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.clock import now
from db.schema.base import ID_LENGTH, Base, BigId, length, one_of

IMAGE_STATES = ("pending", "scored", "failed", "not_scorable")


class Image(Base):
    """A photo to be scored once by the active model. ``INSERT INTO images (id, account_id, url, policy)`` is enough."""

    __tablename__ = "images"
    __table_args__ = (
        one_of("state", IMAGE_STATES),
        length("id"),
        length("account_id"),
        length("policy"),
        Index(
            "ix_images_due",
            "next_attempt_at",
            postgresql_where=text("state = 'pending'"),
            sqlite_where=text("state = 'pending'"),
        ),
        Index("ix_images_account_id", "account_id"),
        Index("ix_images_policy_created_at", "policy", "created_at"),
        Index(
            "ix_images_failed",
            "reason",
            postgresql_where=text("state IN ('failed', 'not_scorable')"),
            sqlite_where=text("state IN ('failed', 'not_scorable')"),
        ),
    )

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    #: Null once the account was erased, as is the URL.
    account_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    url: Mapped[str | None]
    policy: Mapped[str] = mapped_column(String(ID_LENGTH), server_default="default")
    state: Mapped[str] = mapped_column(String(16), server_default="pending")
    #: Which worker process has it in hand. Until ``lease_until`` nobody (else) may take it: it is in hand, or pauses.
    lease_owner: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    lease_until: Mapped[datetime | None]
    #: How often it was taken in hand, and how often whoever did was never heard of again.
    attempts: Mapped[int] = mapped_column(server_default="0")
    losses: Mapped[int] = mapped_column(server_default="0")
    #: When the sweeper sends it (again), unless it is scored or in hand by then; and how often it did so for nothing.
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=now())
    sends: Mapped[int] = mapped_column(server_default="0")
    #: Why it was not scored (or not yet): a code that can be counted, and a sentence for people.
    reason: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None]
    #: Of the file that was scored: its digest, and its size in bytes and pixels.
    sha256: Mapped[str | None] = mapped_column(String(64))
    bytes: Mapped[int | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    #: When its state last changed.
    changed_at: Mapped[datetime] = mapped_column(server_default=now())


class Preview(Base):
    """A small re-encoded picture of an image that reviewers are shown; null ``picture``: deleted by retention."""

    __tablename__ = "previews"
    __table_args__ = (UniqueConstraint("image_id", "kind"), one_of("kind", ("photo", "heatmap")))

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    kind: Mapped[str] = mapped_column(String(16))
    picture: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Look(Base):
    """A flagged photo's perceptual hash, and its mirror image's (see `db.review.lookalikes`); erased with the account."""

    __tablename__ = "looks"

    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), primary_key=True)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    mirrored: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Request(Base):
    """Work that is asked of workers: see `db.work.requests`."""

    __tablename__ = "requests"
    __table_args__ = (
        one_of("kind", ("heatmap", "look", "preview", "rescore")),
        one_of("state", ("pending", "done", "failed")),
        Index("ix_requests_due", "state", "kind", "next_attempt_at"),
        Index("ix_requests_image_id", "image_id", "kind", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    state: Mapped[str] = mapped_column(String(16), server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    #: Why it failed (or not yet succeeded): a code, and a sentence for people.
    reason: Mapped[str | None]
    detail: Mapped[str | None]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=now())
    created_at: Mapped[datetime] = mapped_column(server_default=now())
