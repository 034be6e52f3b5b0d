"""Work that goes on beside the queue, in a thread that outlives any outage of broker or database."""

import logging
import threading
from abc import ABC, abstractmethod

from db.errors import DatabaseError
from worker.core.errors import BrokerError
from worker.core.outage import Trouble


class Beside(ABC):
    """A thread that takes one step after another, with a pause after each that found nothing to do.

    ``name`` is the thread's, ``trouble`` what the log says of a step that failed, ``pause_s`` the pause in seconds.
    """

    def __init__(self, name: str, trouble: str, pause_s: float) -> None:
        self._log = logging.getLogger(type(self).__module__)
        self._what = trouble
        self._trouble = Trouble(self._log, trouble)
        self._pause_s = pause_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    @abstractmethod
    def step(self) -> bool:
        """Do one thing; False when there was nothing to do."""

    def resign(self) -> None:  # noqa: B027 - most hold nothing that others wait for
        """Leave the work to the next without making it wait."""

    def start(self) -> None:
        """Begin, with a pause."""
        self._thread.start()

    def stop(self) -> None:
        """Take no further step. Does not wait; `join` does."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for the step that is under way, if any."""
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        worked = False
        while not self._stopped.wait(0 if worked else self._pause_s):
            worked = self._guarded()
        self._last()

    def _guarded(self) -> bool:
        try:
            worked = self.step()
        except (DatabaseError, BrokerError) as error:
            self._trouble.met(error)
        except Exception:  # noqa: BLE001 - it is logged, and the next step may do better
            self._log.exception("%s", self._what)
        else:
            self._trouble.over()
            return worked
        return False

    def _last(self) -> None:
        try:
            self.resign()
        except DatabaseError as error:
            self._trouble.met(error)
