"""How much a reviewer has done today, for their own eyes."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.schema import UNDONE, Review, Verdict
from db.schema.clock import moment


def count_today(session: Session, reviewer: str) -> tuple[int, int]:
    """How many decisions and verdicts this reviewer has made since midnight UTC, undone ones included."""
    now: datetime = session.execute(select(moment())).scalar_one()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    decided = select(func.count(Review.id)).where(Review.reviewer == reviewer, Review.created_at >= midnight)
    judged = select(func.count(Verdict.id)).where(Verdict.reviewer == reviewer, Verdict.created_at >= midnight)
    counts = (decided.where(Review.decision != UNDONE), judged.where(Verdict.verdict != UNDONE))
    first, second = (session.scalar(count) or 0 for count in counts)
    return first, second
