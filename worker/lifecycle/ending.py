"""How a worker process ends: within a time that is set, whatever hangs, and with nothing of it left in its hands."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Protocol

from worker.telemetry.health import Health

log = logging.getLogger(__name__)

#: Exit status of a worker whose device broke or hangs (``EX_SOFTWARE``), and of one that was told to stop twice.
BROKEN, HURRIED = 70, 1
#: How long giving back what is in hand may take.
_LET_GO_S = 3.0


class LetGo(Protocol):
    """Gives back what is in hand; ``lost``: it may be to blame for this end."""

    def __call__(self, *, lost: bool) -> None:
        """Do it."""


class Ending:
    """A thread that ends this process when it does not end by itself.

    `begin` has it ``stop`` what works beside the queue, gives ``stop_s`` seconds for what is in hand, and exits with 0
    if that was not enough; the next signal ends it at once. `fail` ends it at once, with a status that is not 0.
    """

    def __init__(
        self,
        stop: Callable[[], None],
        let_go: LetGo,
        health: Health,
        stop_s: float,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self._stop = stop
        self._let_go = let_go
        self._health = health
        self._stop_s = stop_s
        self._leave = leave
        # A handler may be interrupted by the next one: an Event's lock would then wait for itself, and this cannot.
        self._told: SimpleQueue[int] = SimpleQueue()
        # Begun now: a signal's handler must not start threads.
        threading.Thread(target=self._watch, name="ending", daemon=True).start()

    def begin(self) -> None:
        """Finish what is in hand. Called by the handler of a signal, and takes the next ones.

        Celery's own handler may still get the second, and calls a second time: that ends it at once, too.
        """
        self._told.put(HURRIED)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._again)

    def fail(self, why: str) -> None:
        """End now, since the device is past saving."""
        log.critical("this worker ends: %s", why)
        self._health.failed(why)
        self._told.put(BROKEN)

    def _again(self, _signal: int, _frame: FrameType | None) -> None:
        self._told.put(HURRIED)

    def _watch(self) -> None:
        status = self._told.get()
        if status != BROKEN:
            status = self._finish()
        log.warning("what is in hand goes to other workers")
        letting_go = threading.Thread(target=self._give_back, args=[status == BROKEN], daemon=True)
        letting_go.start()
        letting_go.join(_LET_GO_S)
        self._health.remove()
        self._leave(status)

    def _finish(self) -> int:
        """Have nothing new begun, and wait for what is in hand; the exit status."""
        self._stop()
        with contextlib.suppress(Empty):
            return self._told.get(timeout=self._stop_s)
        return 0

    def _give_back(self, lost: bool) -> None:
        try:
            self._let_go(lost=lost)
        except Exception as error:  # noqa: BLE001 - the leases run out by themselves
            log.warning("not given back: %s", error)
