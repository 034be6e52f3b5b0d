"""Outlasts a database that is away: work in hand waits, and nothing of it is lost or acknowledged meanwhile."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from db.errors import DatabaseAwayError

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_PAUSE_S = 0.5
#: The same trouble is logged no more often than this.
_SAY_EVERY_S = 30.0


class Trouble:
    """One line in the log now and then, however often it is met, and one when it is over; safe between threads."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._said_at: float | None = None
        self._lock = threading.Lock()

    def met(self, error: Exception) -> None:
        """It is there, or still there."""
        with self._lock:
            if self._said_at is None or time.monotonic() - self._said_at > _SAY_EVERY_S:
                self._said_at = time.monotonic()
                self._log.warning("%s: %s", self._what, error)

    def over(self) -> None:
        """It is not, or no more."""
        with self._lock:
            if self._said_at is not None:
                self._said_at = None
                self._log.warning("%s no more", self._what)


class Outage:
    """Tries again until it succeeds, or until ``given_up``; safe to share between threads."""

    def __init__(self, given_up: threading.Event) -> None:
        self._given_up = given_up
        self._trouble = Trouble(log, "work in hand waits")

    def outlast(self, work: Callable[[int], Result]) -> Result:
        """``work(n)`` is called with the number of times that it failed; what else it raises is not waited for."""
        tries = 0
        while True:
            try:
                result = work(tries)
            except DatabaseAwayError as error:
                if self._given_up.is_set():
                    raise
                self._trouble.met(error)
            else:
                self._trouble.over()
                return result
            tries += 1
            self._given_up.wait(_PAUSE_S)
