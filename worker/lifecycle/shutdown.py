"""Bounded shutdown: a worker process ends within a set time, whatever hangs, and releases its leases."""

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

#: Exit status of a worker whose device failed or hangs (``EX_SOFTWARE``), and of one that was told to stop twice.
BROKEN, HURRIED = 70, 1
#: How long releasing the leases may take.
_RELEASE_S = 3.0


class ReleaseLeases(Protocol):
    """Releases this worker's leases; ``lost``: one of the images may be the cause of this end."""

    def __call__(self, *, lost: bool) -> None:
        """Release the leases; whatever it raises is logged, and the leases expire by themselves."""


class Shutdown:
    """A thread that ends this process if it does not end by itself.

    `begin` calls ``stop`` for the periodic threads, waits ``stop_s`` seconds for the images in hand, and then exits
    with 0; a second signal ends the process at once. `fail` ends it at once, with a status other than 0.
    """

    def __init__(
        self,
        stop: Callable[[], None],
        release_leases: ReleaseLeases,
        health: Health,
        stop_s: float,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        self._stop = stop
        self._release_leases = release_leases
        self._health = health
        self._stop_s = stop_s
        self._exit_process = exit_process
        # One signal handler may interrupt another: an Event's lock would then wait for itself; this queue cannot.
        self._statuses: SimpleQueue[int] = SimpleQueue()
        # Started now: a signal handler must not start threads.
        threading.Thread(target=self._watch, name="shutdown", daemon=True).start()

    def begin(self) -> None:
        """Finish the images in hand, then end. Called by a signal's handler; handles further signals from then on.

        Celery's own handler may still get the second signal and call again: that ends the process at once, too.
        """
        self._statuses.put(HURRIED)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._again)

    def fail(self, why: str) -> None:
        """End now, because the device is unusable."""
        log.critical("this worker ends: %s", why)
        self._health.failed(why)
        self._statuses.put(BROKEN)

    def _again(self, _signal: int, _frame: FrameType | None) -> None:
        self._statuses.put(HURRIED)

    def _watch(self) -> None:
        status = self._statuses.get()
        if status != BROKEN:
            status = self._finish()
        log.warning("this worker ends and releases the images that it holds to other workers")
        releasing = threading.Thread(target=self._release, args=[status == BROKEN], daemon=True)
        releasing.start()
        releasing.join(_RELEASE_S)
        self._health.remove()
        self._exit_process(status)

    def _finish(self) -> int:
        """Stop the periodic threads and wait for the images in hand; the exit status."""
        self._stop()
        with contextlib.suppress(Empty):
            return self._statuses.get(timeout=self._stop_s)
        return 0

    def _release(self, lost: bool) -> None:
        try:
            self._release_leases(lost=lost)
        except Exception as error:  # noqa: BLE001 - the leases expire by themselves
            log.warning("the leases are not released and will expire: %s", error)
