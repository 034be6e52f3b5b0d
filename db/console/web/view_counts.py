"""Counts of the queue's views, each cached for twenty times as long as counting it takes."""

import threading
import time
from dataclasses import dataclass

from db.queue.case_filter import CaseFilter, count_cases
from db.store.session import Database

_KEEP_FACTOR = 20
_MOST = 1000


@dataclass(frozen=True, slots=True)
class _Counted:
    count: int
    fresh_until: float


class ViewCounts:
    """Calls `count_cases`, or returns its last result while that is fresh."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._counted: dict[CaseFilter, _Counted] = {}

    def __call__(self, wanted: CaseFilter) -> int:
        """How many cases the filter finds, now or a moment ago."""
        with self._lock:
            known = self._counted.get(wanted)
        if known is None or time.monotonic() >= known.fresh_until:
            known = self._count(wanted)
            with self._lock:
                if len(self._counted) >= _MOST:
                    self._counted.clear()
                self._counted[wanted] = known
        return known.count

    def _count(self, wanted: CaseFilter) -> _Counted:
        began = time.monotonic()
        with self._database.reading() as session:
            count = count_cases(session, wanted)
        ended = time.monotonic()
        return _Counted(count, ended + _KEEP_FACTOR * (ended - began))
