"""What the platform is told."""

from datetime import datetime

from sqlalchemy import ForeignKey, Identity, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.clock import now
from db.schema.base import ID_LENGTH, Base, BigId, one_of

CASE_EVENTS = ("opened", "confirmed", "dismissed", "withdrawn", "reopened")
DELIVERY_STATES = ("pending", "done", "dead", "erased")


class WebhookSwitch(Base):
    """While it has a row, what becomes of cases is told to the platform: triggers on cases write deliveries."""

    __tablename__ = "webhook_switch"

    name: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)


class Delivery(Base):
    """Something that the platform is to be told of a case; written by a trigger where the case changes."""

    __tablename__ = "deliveries"
    __table_args__ = (
        one_of("event", CASE_EVENTS),
        one_of("state", DELIVERY_STATES),
        UniqueConstraint("case_id", "version"),
        Index(
            "ix_deliveries_due",
            "next_attempt_at",
            postgresql_where=text("state = 'pending'"),
            sqlite_where=text("state = 'pending'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    #: Of the case, as it was then: whoever gets two of them out of order can tell.
    version: Mapped[int]
    event: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    #: What came of the last attempt, if it failed.
    reason: Mapped[str | None]
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=now())
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    changed_at: Mapped[datetime] = mapped_column(server_default=now())
