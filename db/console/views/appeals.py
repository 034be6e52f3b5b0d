"""An appeal that waits for a decision, and its clock."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.review.effective_reviews import last_appeal
from db.review.settings import ReviewSettings
from db.schema import Appeal, Case
from db.schema.clock import moment


@dataclass(frozen=True, slots=True)
class OpenAppeal:
    """An appeal without an answer, when the answer is due, and how many seconds are left (less than 0: it is late)."""

    appeal: Appeal
    due_at: datetime
    left_s: float


def open_appeal(session: Session, settings: ReviewSettings, case: Case) -> OpenAppeal | None:
    """The appeal that an open case waits for; None if there is none."""
    appeal = last_appeal(session, case.id) if case.state == "open" else None
    if appeal is None:
        return None
    due_at = appeal.created_at + timedelta(seconds=settings.appeal_answer_s)
    now: datetime = session.execute(select(moment())).scalar_one()
    return OpenAppeal(appeal, due_at, (due_at - now).total_seconds())
