"""Decoding in this process: a limit on concurrent decodes, and a check for those that hang."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from trainer.pixels.preprocess import Picture, Pixels, decode
from trainer.pixels.views import redeliveries

Result = TypeVar("Result")

#: Seconds of running that an overdue decode gets before it counts as hanging.
_GRACE_S = 3.0


class BoundedDecoder:
    """Decodes at most ``limit`` pictures at once; a decode of more than ``timeout_s`` seconds hangs.

    Time that the whole process was stopped counts as well, so that an overdue decode may be one that was about to end
    when the process went on: it hangs when it has not ended ``grace_s`` seconds after it was found overdue.
    """

    def __init__(self, limit: int, timeout_s: float, grace_s: float = _GRACE_S) -> None:
        self._slots = threading.Semaphore(limit)
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._ended = threading.Condition()
        self._started: dict[int, float] = {}

    def decode(self, data: bytes) -> Picture:
        """Decode a picture once a slot is free; raises `Rejected` as `trainer.pixels.preprocess.decode` does."""
        return self._run(decode, data)

    def redeliveries(self, data: bytes) -> list[Pixels]:
        """Make a picture's other deliveries once a slot is free; raises as `decode` does."""
        return self._run(redeliveries, data)

    def _run(self, work: Callable[[bytes], Result], data: bytes) -> Result:
        with self._slots:
            thread = threading.get_ident()
            self._started[thread] = time.monotonic()
            try:
                return work(data)
            finally:
                with self._ended:
                    del self._started[thread]
                    self._ended.notify_all()

    def hangs(self) -> bool:
        """Whether a decode hangs; takes up to ``grace_s`` seconds when one is overdue."""
        overdue = self._overdue()
        with self._ended:
            return bool(overdue) and not self._ended.wait_for(lambda: not overdue & self._running(), self._grace_s)

    def _overdue(self) -> set[tuple[int, float]]:
        now = time.monotonic()
        return {(thread, since) for thread, since in self._running() if now - since > self._timeout_s}

    def _running(self) -> set[tuple[int, float]]:
        return set(self._started.copy().items())


def decodes_at_once(device: str, cores: int) -> int:
    """As many as this process has cores; half of them where the forward pass needs the cores as well.

    On two cores, with a tiny network, one decode at once and records together made 1.16-1.24 × the images a second of
    32 at once and records one by one, for 2 ms less of a processor each: threads wait for a turn, not for each other.
    """
    return max(1, cores // 2) if device == "cpu" else cores
