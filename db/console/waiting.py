"""How much waits, on every page: counted again only when that is cheap, or long ago."""

import threading
import time

from db.review import queue
from db.review.queue import Backlog
from db.store.session import Database

#: Of a console's time, at most a twentieth goes into counting.
_SHARE = 20


class Waiting:
    """The backlog, at most some twenty times as old as counting takes: at once for thousands of cases."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: Backlog | None = None
        self._until = 0.0

    def __call__(self) -> Backlog:
        """What waits now, or did a moment ago."""
        with self._lock:
            if self._known is None or time.monotonic() >= self._until:
                self._known = self._count()
            return self._known

    def _count(self) -> Backlog:
        began = time.monotonic()
        with self._database.reading() as session:
            found = queue.backlog(session)
        ended = time.monotonic()
        self._until = ended + _SHARE * (ended - began)
        return found
