"""The tables of the HTTP API: its keys, and the view ``results``."""

from datetime import datetime

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.base import ID_LENGTH, Base, length
from db.schema.clock import UtcDateTime, now


class ApiKey(Base):
    """A key of the HTTP API. The row has only its SHA-256, so that nobody who reads the row can use the key."""

    __tablename__ = "api_keys"
    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("sha256"),
        length("name"),
        CheckConstraint("rate_per_minute > 0", name="rate_per_minute"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    sha256: Mapped[str] = mapped_column(String(64))
    #: Comma-separated: see `db.access.api_keys`.
    scopes: Mapped[str] = mapped_column(String(64))
    #: The one policy whose images it may submit and read; null: all.
    policy: Mapped[str | None] = mapped_column(String(ID_LENGTH), ForeignKey("policies.name"))
    #: Requests a minute; null: no limit.
    rate_per_minute: Mapped[int | None]
    created_by: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    #: To the minute.
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


#: The outcome of each image: a view, which migrations make. Its states are pending, scored, unusable and failed.
Result = Table(
    "results",
    MetaData(),
    Column("image_id", String(ID_LENGTH), primary_key=True),
    Column("account_id", String(ID_LENGTH)),
    Column("state", String(16), nullable=False),
    Column("score", Double),
    Column("flagged", Boolean),
    Column("threshold", Double),
    Column("model", String(ID_LENGTH)),
    Column("reason", Text),
    Column("scored_at", UtcDateTime),
    Column("case_state", String(16)),
    Column("flagged_by", String(64)),
    Column("evidence", Text),
    Column("verdict", String(16)),
    Column("score_low", Double),
    Column("score_high", Double),
)
