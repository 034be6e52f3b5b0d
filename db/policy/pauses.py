"""Stopping flags, or all scoring, for a while: who did, why, and since when."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.errors import ConflictError
from db.schema import Pause
from db.policy.signature import Signature


def standing(session: Session) -> dict[str, Pause]:
    """What is paused now, by "flagging" and "scoring"; empty when all runs."""
    newest = select(func.max(Pause.id)).group_by(Pause.what)
    rows = session.scalars(select(Pause).where(Pause.id.in_(newest), Pause.paused))
    return {row.what: row for row in rows}


def pause(session: Session, what: str, by: Signature) -> Pause:
    """Stop "flagging" (scores are still recorded) or "scoring" (photos wait); workers follow within seconds."""
    known = standing(session).get(what)
    if known is not None:
        raise ConflictError(f"{what} is paused already, by {known.author}: {known.reason}")
    return _append(session, what, by.explained(f"a pause of {what}"), paused=True)


def resume(session: Session, what: str, by: Signature) -> Pause:
    """Go on. Scores that came while flagging was paused flag when their thresholds are applied (see `db.policy.changes`)."""
    if what not in standing(session):
        raise ConflictError(f"{what} is not paused")
    return _append(session, what, by, paused=False)


def _append(session: Session, what: str, by: Signature, *, paused: bool) -> Pause:
    row = Pause(what=what, paused=paused, author=by.author, reason=by.reason)
    session.add(row)
    session.flush()
    return row
