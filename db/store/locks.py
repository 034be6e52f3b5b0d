"""Locks for what one process does at a time. The owner renews its lock, and loses it when it stays silent too long."""

from dataclasses import dataclass

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from db.schema import Lock
from db.schema.clock import moment
from db.store.dialect import insert


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, and for how many seconds it has not renewed it."""

    owner: str
    silent_s: float


def acquire(session: Session, name: str, owner: str, hold_s: float) -> bool:
    """Acquire a lock, or renew one's own, for ``hold_s``; False while another owner's has not expired."""
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


def release(session: Session, name: str, owner: str) -> None:
    """Release a lock, if this owner holds it."""
    session.execute(delete(Lock).where(Lock.name == name, Lock.owner == owner))


def holder(session: Session, name: str) -> Holder | None:
    """Who holds a lock that has not expired; None when it is free."""
    statement = select(Lock.owner, Lock.beat, moment()).where(Lock.name == name, Lock.until > moment())
    row = session.execute(statement).one_or_none()
    return Holder(row[0], (row[2] - row[1]).total_seconds()) if row is not None else None


def holders(session: Session, prefix: str) -> list[Holder]:
    """The owners of all locks whose names begin with the prefix and that have not expired, by name."""
    statement = select(Lock.owner, Lock.beat, moment()).where(Lock.name.startswith(prefix), Lock.until > moment())
    rows = session.execute(statement.order_by(Lock.name)).all()
    return [Holder(owner, (now - beat).total_seconds()) for owner, beat, now in rows]


def delete_expired(session: Session, prefix: str, after_s: float) -> None:
    """Delete locks whose names begin with the prefix and that expired ``after_s`` seconds ago."""
    session.execute(delete(Lock).where(Lock.name.startswith(prefix), Lock.until < moment(-after_s)))
