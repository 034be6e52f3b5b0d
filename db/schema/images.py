"""Images, the pictures and hashes kept of them, and requests for more."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.base import ID_LENGTH, Base, BigId, length, one_of, prefix_index
from db.schema.clock import now
from db.schema.row_text import LongRowText, RowText
from db.schema.soundness import constraints

IMAGE_STATES = ("pending", "scored", "unusable", "failed")
LANES = ("upload", "backfill")


class Image(Base):
    """A photo to be scored once by the active model. ``INSERT INTO images (id, account_id, url, policy)`` is enough."""

    __tablename__ = "images"
    __table_args__ = (
        one_of("state", IMAGE_STATES),
        one_of("lane", LANES),
        length("id"),
        length("account_id"),
        length("policy"),
        *constraints(),
        Index(
            "ix_images_due",
            "next_attempt_at",
            postgresql_where=text("state = 'pending'"),
            sqlite_where=text("state = 'pending'"),
        ),
        Index(
            "ix_images_due_by_lane",
            "lane",
            "policy",
            "next_attempt_at",
            postgresql_where=text("state = 'pending'"),
            sqlite_where=text("state = 'pending'"),
        ),
        Index("ix_images_account_id", "account_id"),
        prefix_index("images", "id"),
        prefix_index("images", "account_id"),
        Index("ix_images_policy_created_at", "policy", "created_at"),
        Index(
            "ix_images_failed",
            "reason",
            postgresql_where=text("state IN ('failed', 'unusable')"),
            sqlite_where=text("state IN ('failed', 'unusable')"),
        ),
    )

    id: Mapped[str] = mapped_column(RowText(ID_LENGTH), primary_key=True)
    #: Null, like the URL, once the account was erased.
    account_id: Mapped[str | None] = mapped_column(RowText(ID_LENGTH))
    url: Mapped[str | None] = mapped_column(LongRowText)
    policy: Mapped[str] = mapped_column(RowText(ID_LENGTH), server_default="default")
    state: Mapped[str] = mapped_column(RowText(16), server_default="pending")
    #: Somebody waits for the score of an upload; a backfill goes after all uploads.
    lane: Mapped[str] = mapped_column(RowText(16), server_default="upload")
    #: The worker process that has leased it; until ``lease_until`` no other may. No owner and a time: a pause.
    lease_owner: Mapped[str | None] = mapped_column(RowText(ID_LENGTH))
    lease_until: Mapped[datetime | None]
    #: How often it was leased, and how often the worker was then lost.
    attempts: Mapped[int] = mapped_column(server_default="0")
    losses: Mapped[int] = mapped_column(server_default="0")
    #: When the sweeper sends it (again), unless it is scored or leased by then; and how often that was fruitless.
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=now())
    sends: Mapped[int] = mapped_column(server_default="0")
    #: Why it was not scored, or not yet: a code to count by, and a sentence for people.
    reason: Mapped[str | None] = mapped_column(RowText(64))
    detail: Mapped[str | None] = mapped_column(LongRowText)
    #: The file that was scored: its digest, and its size in bytes and pixels.
    sha256: Mapped[str | None] = mapped_column(RowText(64))
    bytes: Mapped[int | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    #: When its state last changed.
    changed_at: Mapped[datetime] = mapped_column(server_default=now())


class Upload(Base):
    """The bytes of a photo that came over HTTP: kept until it is scored or has failed for good."""

    __tablename__ = "uploads"

    image_id: Mapped[str] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Preview(Base):
    """A re-encoded picture of an image, in one of three sizes, or its heatmap; null ``picture``: deleted since."""

    __tablename__ = "previews"
    __table_args__ = (UniqueConstraint("image_id", "kind"), one_of("kind", ("photo", "heatmap", "original", "thumb")))

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    kind: Mapped[str] = mapped_column(String(16))
    picture: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class PerceptualHash(Base):
    """A flagged photo's perceptual hash and its mirror image's (`db.review.lookalikes`); erased with the account."""

    __tablename__ = "looks"
    __table_args__ = (Index("ix_looks_hash", "hash"),)

    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), primary_key=True)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    mirrored: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Signal(Base):
    """What is known of an image besides its score, such as what its file says. Append-only; erased with the account."""

    __tablename__ = "signals"
    __table_args__ = (
        length("kind", 64),
        CheckConstraint("length(value) <= 256", name="value_length"),
        CheckConstraint("length(place) <= 128", name="place_length"),
        CheckConstraint("tail_probability BETWEEN 0 AND 1", name="tail_probability"),
        Index("ix_signals_image_id", "image_id"),
        Index("ix_signals_kind_value", "kind", "value", "image_id"),
        Index(
            "uq_signals_of_file",
            "image_id",
            "kind",
            "place",
            "value",
            unique=True,
            postgresql_where=text("version_id IS NULL"),
            sqlite_where=text("version_id IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    #: `db.file_signals` has those of the file.
    kind: Mapped[str] = mapped_column(String(64))
    #: What was found, and where: short printable text.
    value: Mapped[str] = mapped_column(String(256))
    place: Mapped[str] = mapped_column(String(128))
    #: How far a file's own word can be trusted; null for signals that are measured.
    trust: Mapped[str | None] = mapped_column(String(16))
    #: The share of real photos that look like this, or more so; null where nobody measured it.
    tail_probability: Mapped[float | None]
    #: The model version that it depends on; null for what the file says.
    version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Request(Base):
    """A picture, hash or score that workers are to make: see `db.work.on_demand`."""

    __tablename__ = "requests"
    __table_args__ = (
        one_of("kind", ("heatmap", "look", "original", "preview", "rescore")),
        one_of("state", ("pending", "done", "failed")),
        Index("ix_requests_due", "state", "kind", "next_attempt_at"),
        Index("ix_requests_image_id", "image_id", "kind", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    state: Mapped[str] = mapped_column(String(16), server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    #: Why it failed, or has not succeeded yet: a code, and a sentence for people.
    reason: Mapped[str | None]
    detail: Mapped[str | None]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=now())
    created_at: Mapped[datetime] = mapped_column(server_default=now())
