"""A thread that reads the database for the metrics, in one of all processes that have a metrics port.

It holds a lock of its own, and not the relay's: a relay releases that one while Redis is unreachable, which is when
these figures matter.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from db.store import locks
from db.store.session import Database
from worker.core.periodic import PeriodicThread
from worker.exporter.collectors import Families, RecordCollector, gauge

LOCK = "metrics"
_LOOK_S = 5.0
#: Another process takes over when the lock's holder was silent for this long.
_HOLD_S = 30.0
#: Wait 20 times a query's duration before repeating it, so that metrics use about 5 % of the database's time.
_REST = 20.0


@dataclass(slots=True)
class _Due:
    collector: RecordCollector
    #: When it is due, on the monotonic clock; None while another process reads.
    at: float | None = None


class Poller(PeriodicThread):
    """Has each collector read the database when it is due; collectors keep their values until then."""

    def __init__(self, database: Database, owner: str, collectors: Sequence[RecordCollector]) -> None:
        super().__init__("metrics-poller", "metrics of the database are not refreshed", _LOOK_S)
        self._database = database
        self._owner = owner
        self._due = [_Due(collector) for collector in collectors]

    def families(self) -> Families:
        """The metrics of all collectors; without values unless this process reads."""
        for due in self._due:
            yield from due.collector.families()
        since = min((due.at for due in self._due if due.at is not None), default=None)
        overdue_s = max(0.0, time.monotonic() - since) if since is not None else None
        yield gauge("readings_overdue_seconds", "How long the metrics of the database have been overdue.", overdue_s)

    def step(self) -> bool:
        """Read what is due if this process holds the lock; always False, since the rest can wait."""
        with self._database.writing() as session:
            ours = locks.acquire(session, LOCK, self._owner, _HOLD_S)
        for due in self._due:
            if not ours:
                due.collector.forget()
                due.at = None
                continue
            due.at = time.monotonic() if due.at is None else due.at
            if time.monotonic() >= due.at:
                self._read(due)
        return False

    def release_lock(self) -> None:
        """Let another process read from now on; raises `DatabaseError`."""
        with self._database.writing() as session:
            locks.release(session, LOCK, self._owner)

    def _read(self, due: _Due) -> None:
        begun = time.monotonic()
        with self._database.reading() as session:
            due.collector.read(session)
        took_s = time.monotonic() - begun
        due.at = begun + max(due.collector.every_s, _REST * took_s)
