"""A thread that reads the record for the metrics: in one process of all that have a metrics port.

It holds a lock of its own, and not the sweeper's: that one is let go while Redis is away, when these figures matter.
"""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from db import locks
from db.errors import DatabaseError
from db.session import Database
from worker.outage import Trouble
from worker.readings import Families, Reading

log = logging.getLogger(__name__)

LOCK = "metrics"
_LOOK_S = 5.0
#: Another reads on when the one that holds the lock was silent for so long.
_HOLD_S = 30.0
#: Whatever a reading takes, it waits so many times longer until the next: of the database it costs a few per cent.
_REST = 20.0


@dataclass(slots=True)
class _Due:
    reading: Reading
    at: float = 0.0


class Gatherer:
    """Reads what is due, and outlives any outage of the database; what was read stays until it is read anew."""

    def __init__(self, database: Database, owner: str, readings: Sequence[Reading]) -> None:
        self._database = database
        self._owner = owner
        self._due = [_Due(reading) for reading in readings]
        self._trouble = Trouble(log, "metrics of the record stay as they were")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="gatherer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more; `join` waits for the reading that is under way."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for it."""
        if self._thread.is_alive():
            self._thread.join()

    def families(self) -> Families:
        """What was read, if this process is the one that reads."""
        for due in self._due:
            yield from due.reading.families()

    def gather(self) -> None:
        """Read what is due, if this process is, or becomes, the one that reads."""
        with self._database.writing() as session:
            ours = locks.hold(session, LOCK, self._owner, _HOLD_S)
        for due in self._due:
            if not ours:
                due.reading.forget()
                due.at = 0.0
            elif time.monotonic() >= due.at:
                self._read(due)

    def _read(self, due: _Due) -> None:
        begun = time.monotonic()
        with self._database.reading() as session:
            due.reading.read(session)
        took_s = time.monotonic() - begun
        due.at = begun + max(due.reading.every_s, _REST * took_s)

    def _loop(self) -> None:
        while not self._stopped.is_set():
            self._guarded()
            self._stopped.wait(_LOOK_S)
        with suppress(DatabaseError), self._database.writing() as session:
            locks.let_go(session, LOCK, self._owner)

    def _guarded(self) -> None:
        try:
            self.gather()
        except DatabaseError as error:
            self._trouble.met(error)
        except Exception:
            log.exception("metrics of the record stay as they were")
        else:
            self._trouble.over()
