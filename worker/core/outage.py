"""Waits until an unreachable database is back: work in progress is neither lost nor acknowledged meanwhile."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Literal, TypeVar

from db.errors import DatabaseError, DatabaseUnavailableError
from db.redaction import redacted
from worker.core.errors import BrokerError

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: The first pause between two attempts, which doubles, and the longest.
_PAUSE_S, _LONGEST_S = 0.5, 5.0
#: Least time between two log lines about one lasting fault.
_LOG_EVERY_S = 30.0


#: What a worker needs, as `unmask health` tells it apart.
Part = Literal["broker", "record", "model", "disk"]
PARTS: tuple[Part, ...] = ("broker", "record", "model", "disk")


class Faults:
    """The faults of this process that last, by the part that is at fault; safe between threads."""

    def __init__(self) -> None:
        self._lasting: dict[tuple[Part, str], str] = {}
        self._lock = threading.Lock()

    def add(self, part: Part, what: str, why: str) -> None:
        """Note that ``what`` fails, and why."""
        with self._lock:
            self._lasting[part, what] = why

    def remove(self, part: Part, what: str) -> None:
        """Note that ``what`` succeeds again."""
        with self._lock:
            self._lasting.pop((part, what), None)

    def clear(self) -> None:
        """Forget all faults, as between two tests."""
        with self._lock:
            self._lasting.clear()

    def by_part(self) -> dict[str, str]:
        """The reason of a lasting fault of each part that has one."""
        with self._lock:
            return {part: why for (part, _), why in reversed(self._lasting.items())}


#: The faults of this process.
faults = Faults()


class FaultLog:
    """Logs a lasting fault now and then instead of each time, and once when it is over; safe between threads.

    A line reads "``what``: the error" (a warning), and at the end "``what``: recovered" (info). Meanwhile the fault is
    among `faults`, under ``part``, or else the part that the error tells.
    """

    def __init__(self, log: logging.Logger, what: str, part: Part | None = None) -> None:
        self._log = log
        self._what = what
        self._part = part
        self._noted: Part | None = None
        self._logged_at: float | None = None
        self._lock = threading.Lock()

    def raised(self, error: Exception) -> None:
        """The fault has occurred, or still lasts."""
        part = self._part or _part_of(error)
        with self._lock:
            self._note(part, error)
            if self._logged_at is None or time.monotonic() - self._logged_at > _LOG_EVERY_S:
                self._logged_at = time.monotonic()
                self._log.warning("%s: %s", self._what, error)

    def cleared(self) -> None:
        """The work succeeded: log the recovery if a fault was logged."""
        with self._lock:
            self._note(None, None)
            if self._logged_at is not None:
                self._logged_at = None
                self._log.info("%s: recovered", self._what)

    def _note(self, part: Part | None, error: Exception | None) -> None:
        if self._noted is not None and self._noted != part:
            faults.remove(self._noted, self._what)
        if part is not None:
            faults.add(part, self._what, redacted(str(error) or type(error).__name__))
        self._noted = part


def _part_of(error: Exception) -> Part | None:
    if isinstance(error, DatabaseError):
        return "record"
    return "broker" if isinstance(error, BrokerError) else None


class RetryUntilUp:
    """Repeats database work until the database answers, or until ``given_up`` is set; safe to share between threads."""

    def __init__(self, given_up: threading.Event) -> None:
        self._given_up = given_up
        self._fault = FaultLog(log, "work waits for the database")

    def __call__(self, work: Callable[[int], Result]) -> Result:
        """The result of ``work(n)``, where n counts the attempts that failed before.

        Raises `DatabaseAwayError` once given up, and at once whatever else ``work`` raises.
        """
        tries = 0
        while True:
            try:
                result = work(tries)
            except DatabaseUnavailableError as error:
                if self._given_up.is_set():
                    raise
                self._fault.raised(error)
            else:
                self._fault.cleared()
                return result
            self._given_up.wait(min(_PAUSE_S * 2.0 ** min(tries, 30), _LONGEST_S))
            tries += 1
