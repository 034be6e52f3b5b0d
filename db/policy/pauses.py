"""Pausing flagging, or all scoring: who paused it, why, and since when."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.errors import ConflictError
from db.policy.attribution import ChangeAuthor
from db.schema import Pause


def current_pauses(session: Session) -> dict[str, Pause]:
    """What is paused now, by "flagging" and "scoring"; empty when both run."""
    newest = select(func.max(Pause.id)).group_by(Pause.what)
    rows = session.scalars(select(Pause).where(Pause.id.in_(newest), Pause.paused))
    return {row.what: row for row in rows}


def pause(session: Session, what: str, by: ChangeAuthor) -> Pause:
    """Pause "flagging" (scores are still recorded) or "scoring" (photos wait); workers follow within seconds.

    Raises `ConflictError` when it is paused already, and `DbError` without a reason.
    """
    known = current_pauses(session).get(what)
    if known is not None:
        raise ConflictError(f"{what} is already paused, by {known.author}: {known.reason}")
    return _append(session, what, by.explained(f"a pause of {what}"), paused=True)


def resume(session: Session, what: str, by: ChangeAuthor) -> Pause:
    """Resume it; raises `ConflictError` when it is not paused.

    Scores recorded during a pause of flagging flag when the thresholds are applied (`case_changes.apply_thresholds`).
    """
    if what not in current_pauses(session):
        raise ConflictError(f"{what} is not paused")
    return _append(session, what, by, paused=False)


def _append(session: Session, what: str, by: ChangeAuthor, *, paused: bool) -> Pause:
    row = Pause(what=what, paused=paused, author=by.author, reason=by.reason)
    session.add(row)
    session.flush()
    return row
