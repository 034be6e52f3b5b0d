"""Images to send: those that are *due*, because their time has come and nobody has them in hand."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Float, String, column, func, select, update
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.work.images import not_in_hand
from db.store.insert import given
from db.schema import Image


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an image that was sent may take to be taken in hand before it is sent again: doubled each time."""

    first_s: float
    longest_s: float

    def after(self, sends: int) -> float:
        """The pause after so many sends for nothing, spread, so that what was lost together does not come together."""
        return min(self.first_s * 2.0 ** min(sends, 30), self.longest_s) * random.uniform(0.9, 1.1)  # noqa: S311


def take_due(session: Session, limit: int, patience: Patience) -> list[str]:
    """Ids of images that should be sent now, the oldest; they come again after a while unless taken in hand."""
    due = (
        select(Image.id, Image.sends)
        .where(*_due())
        .order_by(Image.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = [(image_id, patience.after(sends)) for image_id, sends in session.execute(due)]
    if found:
        _postpone(session, found)
    return [image_id for image_id, _ in found]


def park_lost(session: Session, max_losses: int, deadline_s: float) -> list[str]:
    """Give up images whose workers were lost ``max_losses`` times: the last resort, when all else blamed nobody.

    Not before they are ``deadline_s`` old: in a night on which all workers die again and again, no image is to blame.
    """
    statement = (
        update(Image)
        .where(*_due(), Image.losses >= max_losses, Image.created_at <= moment(-deadline_s))
        .values(
            state="failed",
            reason="worker_lost",
            detail=f"{max_losses} workers were lost while they had it in hand",
            lease_owner=None,
            lease_until=None,
            changed_at=moment(),
        )
        .returning(Image.id)
        .execution_options(synchronize_session=False)
    )
    return list(session.scalars(statement))


def unsent(session: Session, image_ids: Collection[str], pause_s: float) -> None:
    """Images that were taken and not sent are due again after ``pause_s``; this was no try."""
    ours = (
        select(Image.id)
        .where(Image.id.in_(image_ids), Image.state == "pending", Image.sends > 0)
        .with_for_update(skip_locked=True)
    )
    statement = update(Image).where(Image.id.in_(ours))
    change = {"sends": Image.sends - 1, "next_attempt_at": moment(pause_s)}
    session.execute(statement.values(change).execution_options(synchronize_session=False))


def lag_s(session: Session) -> float:
    """For how many seconds the image has been due that waits longest to be sent; 0 when none does."""
    oldest, now = session.execute(select(func.min(Image.next_attempt_at), moment()).where(*_due())).one()
    return max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0


def _due() -> tuple[ColumnElement[bool], ...]:
    return Image.state == "pending", Image.next_attempt_at <= moment(), not_in_hand()


def _postpone(session: Session, pauses: Sequence[tuple[str, float]]) -> None:
    rows = given(session, [column("id", String), column("pause_s", Float)], pauses)
    statement = (
        update(Image).where(Image.id == rows.c.id).values(next_attempt_at=moment(rows.c.pause_s), sends=Image.sends + 1)
    )
    session.connection().execute(statement)
