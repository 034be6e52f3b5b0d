"""A thread that reads the record for the metrics: in one process of all that have a metrics port.

It holds a lock of its own, and not the sweeper's: that one is let go while Redis is away, when these figures matter.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from db.store import locks
from db.store.session import Database
from worker.core.beside import Beside
from worker.exporter.readings import Families, Reading, gauge

LOCK = "metrics"
_LOOK_S = 5.0
#: Another reads on when the one that holds the lock was silent for so long.
_HOLD_S = 30.0
#: Whatever a reading takes, it waits so many times longer until the next: of the database it costs a few per cent.
_REST = 20.0


@dataclass(slots=True)
class _Due:
    reading: Reading
    #: On the monotonic clock; None while another process reads.
    at: float | None = None


class Gatherer(Beside):
    """Reads what is due; what was read stays until it is read anew."""

    def __init__(self, database: Database, owner: str, readings: Sequence[Reading]) -> None:
        super().__init__("gatherer", "metrics of the record stay as they were", _LOOK_S)
        self._database = database
        self._owner = owner
        self._due = [_Due(reading) for reading in readings]

    def families(self) -> Families:
        """What was read, if this process is the one that reads."""
        for due in self._due:
            yield from due.reading.families()
        since = min((due.at for due in self._due if due.at is not None), default=None)
        overdue_s = max(0.0, time.monotonic() - since) if since is not None else None
        yield gauge("readings_overdue_seconds", "For how long the record should have been read again.", overdue_s)

    def step(self) -> bool:
        """Read what is due, if this process is, or becomes, the one that reads; False: nothing is due for a while."""
        with self._database.writing() as session:
            ours = locks.hold(session, LOCK, self._owner, _HOLD_S)
        for due in self._due:
            if not ours:
                due.reading.forget()
                due.at = None
                continue
            due.at = time.monotonic() if due.at is None else due.at
            if time.monotonic() >= due.at:
                self._read(due)
        return False

    def resign(self) -> None:
        """Leave the readings to the next without making them wait."""
        with self._database.writing() as session:
            locks.let_go(session, LOCK, self._owner)

    def _read(self, due: _Due) -> None:
        begun = time.monotonic()
        with self._database.reading() as session:
            due.reading.read(session)
        took_s = time.monotonic() - begun
        due.at = begun + max(due.reading.every_s, _REST * took_s)
