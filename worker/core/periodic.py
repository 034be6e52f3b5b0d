"""Periodic work beside the queue, in a thread that survives any outage of broker or database."""

import logging
import threading
from abc import ABC, abstractmethod

from db.errors import DatabaseError
from worker.core.errors import BrokerError
from worker.core.outage import FaultLog

#: The longest pause after a step that failed.
_LONGEST_S = 5.0


class PeriodicThread(ABC):
    """A thread that repeats `step`, and pauses for ``pause_s`` seconds after each step that found nothing to do.

    While steps fail, the pause doubles, up to ``_LONGEST_S`` seconds unless ``pause_s`` is longer.

    ``name`` is the thread's; ``fault`` is what the log says when a step fails.
    """

    def __init__(self, name: str, fault: str, pause_s: float) -> None:
        self._log = logging.getLogger(type(self).__module__)
        self._what = fault
        self._fault = FaultLog(self._log, fault)
        self._pause_s = pause_s
        self._failures = 0
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    @abstractmethod
    def step(self) -> bool:
        """Do one piece of work; False when there was nothing to do, and the thread may pause."""

    def release_lock(self) -> None:  # noqa: B027 - most hold no lock
        """Release the lock that this thread holds, so that another worker's takes over without waiting."""

    def start(self) -> None:
        """Start the thread; its first step comes after a pause."""
        self._thread.start()

    def wake(self) -> None:
        """Take the next step now."""
        self._woken.set()

    def stop(self) -> None:
        """Begin no further step; `join` waits for the one under way."""
        self._stopped.set()
        self._woken.set()

    def join(self) -> None:
        """Wait until the step under way, if any, has ended and the lock is released."""
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        worked = False
        while not self._pause(0 if worked else self._backed_off_s()):
            worked = self._guarded_step()
        self._finish()

    def _pause(self, pause_s: float) -> bool:
        """Pause, unless somebody wakes this thread; returns whether it is stopped."""
        self._woken.wait(pause_s)
        self._woken.clear()
        return self._stopped.is_set()

    def _backed_off_s(self) -> float:
        return min(self._pause_s * 2.0 ** min(self._failures, 30), max(self._pause_s, _LONGEST_S))

    def _guarded_step(self) -> bool:
        self._failures += 1
        try:
            worked = self.step()
        except (DatabaseError, BrokerError) as error:
            self._fault.raised(error)
        except Exception:  # noqa: BLE001 - it is logged, and the next step may succeed
            self._log.exception("%s", self._what)
        else:
            self._fault.cleared()
            self._failures = 0
            return worked
        return False

    def _finish(self) -> None:
        try:
            self.release_lock()
        except DatabaseError as error:
            self._fault.raised(error)
