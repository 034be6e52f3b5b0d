"""What one process does at a time: it holds a lock by beating, and loses it when it is silent for too long."""

from dataclasses import dataclass

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.store.insert import insert
from db.schema import Lock


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, and for how many seconds it has not beaten."""

    owner: str
    silent_s: float


def hold(session: Session, name: str, owner: str, hold_s: float) -> bool:
    """Take a lock, or beat and keep it; False while another's beat is younger than its ``hold_s``."""
    times = {"owner": owner, "until": moment(hold_s), "beat": moment()}
    statement = (
        insert(session, Lock)
        .values(name=name, **times)
        .on_conflict_do_update(
            index_elements=["name"], set_=times, where=or_(Lock.owner == owner, Lock.until <= moment())
        )
        .returning(Lock.name)
    )
    return session.execute(statement).first() is not None


def let_go(session: Session, name: str, owner: str) -> None:
    """Leave a lock to the next, if it is ours."""
    session.execute(delete(Lock).where(Lock.name == name, Lock.owner == owner))


def holder(session: Session, name: str) -> Holder | None:
    """Who holds a lock that nobody else may take yet."""
    statement = select(Lock.owner, Lock.beat, moment()).where(Lock.name == name, Lock.until > moment())
    row = session.execute(statement).one_or_none()
    return Holder(row[0], (row[2] - row[1]).total_seconds()) if row is not None else None
