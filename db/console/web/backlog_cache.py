"""The backlog that every page shows, cached for twenty times as long as counting it takes."""

import threading
import time

from db.review import case_queue
from db.review.case_queue import Backlog
from db.store.session import Database

#: A count is kept this many times as long as it took, so counting uses at most 5 % of the console's time.
_KEEP_FACTOR = 20


class BacklogCache:
    """Calls `case_queue.count_backlog`, or returns its last result while that is fresh."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._counted: Backlog | None = None
        self._fresh_until = 0.0

    def __call__(self) -> Backlog:
        """The backlog now or a moment ago."""
        with self._lock:
            if self._counted is None or time.monotonic() >= self._fresh_until:
                self._counted = self._count()
            return self._counted

    def _count(self) -> Backlog:
        began = time.monotonic()
        with self._database.reading() as session:
            found = case_queue.count_backlog(session)
        ended = time.monotonic()
        self._fresh_until = ended + _KEEP_FACTOR * (ended - began)
        return found
