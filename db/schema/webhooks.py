"""Webhooks: whether they are on, and the deliveries to the platform."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.base import ID_LENGTH, Base, BigId, one_of
from db.schema.clock import now

CASE_EVENTS = ("opened", "confirmed", "dismissed", "withdrawn", "reopened")
IMAGE_EVENTS = ("scored", "flagged", "failed")
#: Every kind of event that a platform may choose, by its full name.
EVENT_KINDS = (*(f"case.{event}" for event in CASE_EVENTS), *(f"image.{event}" for event in IMAGE_EVENTS))
DELIVERY_STATES = ("pending", "done", "dead", "erased")


class WebhookSwitch(Base):
    """A kind of event that triggers write deliveries of, such as "case.opened"; without a row, webhooks are off."""

    __tablename__ = "webhook_switch"

    #: "on", which releases before 0015 write, stands for the kinds of cases.
    name: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)


class Delivery(Base):
    """An event of a case, or of an image, to send to the platform; a trigger writes it with the change."""

    __tablename__ = "deliveries"
    __table_args__ = (
        one_of("event", CASE_EVENTS + IMAGE_EVENTS),
        one_of("state", DELIVERY_STATES),
        CheckConstraint("(case_id IS NULL) <> (image_id IS NULL)", "subject"),
        UniqueConstraint("case_id", "version"),
        Index("ix_deliveries_image_id", "image_id"),
        Index(
            "ix_deliveries_due",
            "next_attempt_at",
            postgresql_where=text("state = 'pending'"),
            sqlite_where=text("state = 'pending'"),
        ),
        Index("ix_deliveries_dead", "id", postgresql_where=text("state = 'dead'"), sqlite_where=text("state = 'dead'")),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int | None] = mapped_column(ForeignKey("cases.id"))
    #: The case's version at the event: a receiver can tell when two events arrive out of order.
    version: Mapped[int | None]
    image_id: Mapped[str | None] = mapped_column(ForeignKey("images.id"))
    event: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    #: Why the last attempt failed.
    reason: Mapped[str | None]
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=now())
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    changed_at: Mapped[datetime] = mapped_column(server_default=now())

    @property
    def kind(self) -> str:
        """The event's full name, such as "case.opened"."""
        return f"{'image' if self.case_id is None else 'case'}.{self.event}"
