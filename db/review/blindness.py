"""Who sees a case's scores. A case that chance hid from a reviewer stays hidden until they have seen its scores."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.review.settings import ReviewSettings
from db.schema import AuditEntry, Case


def hidden_from(session: Session, settings: ReviewSettings, reviewer: str, case_ids: Collection[int]) -> set[int]:
    """Those of these cases whose scores chance hides from this reviewer, and who has never seen them either."""
    drawn = {case_id for case_id in case_ids if settings.shows_blind(case_id, reviewer)}
    return drawn - _seen(session, reviewer, drawn) if drawn else drawn


def decides_blind(session: Session, settings: ReviewSettings, case: Case, reviewer: str) -> bool:
    """Whether this reviewer decides this case without scores. The page of a closed case hides nothing."""
    return case.state == "open" and bool(hidden_from(session, settings, reviewer, [case.id]))


def _seen(session: Session, reviewer: str, case_ids: Collection[int]) -> set[int]:
    """Cases that were shown to this reviewer with scores: their entries in the audit log do not say "blind"."""
    shown = select(AuditEntry.case_id).where(AuditEntry.who == reviewer, AuditEntry.case_id.in_(case_ids))
    shown = shown.where(AuditEntry.what == "viewed", AuditEntry.detail.is_(None))
    return {case_id for case_id in session.scalars(shown) if case_id is not None}
