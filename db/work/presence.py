"""Which workers are alive: each renews a lock of its own in the record, whether it has work or not."""

from sqlalchemy.orm import Session

from db.store import locks

#: A worker that did not report for so long is not alive, or cannot reach the record.
ALIVE_S = 20.0
_PREFIX = "worker "
#: Locks of workers that ended without a word are deleted after this time.
_FORGET_S = 3600.0


def report_alive(session: Session, owner: str) -> None:
    """Report that this worker is alive."""
    locks.acquire(session, _PREFIX + owner, owner, ALIVE_S)
    locks.delete_expired(session, _PREFIX, _FORGET_S)


def report_end(session: Session, owner: str) -> None:
    """Report that this worker ends."""
    locks.release(session, _PREFIX + owner, owner)


def alive_workers(session: Session) -> list[str]:
    """The workers that are alive, by name."""
    return [holder.owner for holder in locks.holders(session, _PREFIX)]
