"""How long one image's way took, stage by stage: wait, fetch, decode, forward, record."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

#: From its row's commit (or its release for another try by a person) until a thread has it; its bytes; its pixels; its
#: score, with the wait for a batch; and until that is committed.
STAGES = ("wait", "fetch", "decode", "forward", "record")


class Stages:
    """A stopwatch, begun when a worker took the image in hand; one thread at a time uses it."""

    __slots__ = ("_age_s", "_begun", "_ended", "seconds")

    def __init__(self, age_s: float, waited_s: float) -> None:
        self._age_s = age_s
        self._begun = time.perf_counter()
        self._ended = self._begun
        #: What each stage took that the image came to; one that failed counts.
        self.seconds = {"wait": waited_s}

    def start(self) -> None:
        """A thread has it: what it waited for one belongs to its wait."""
        self._ended = time.perf_counter()
        self.seconds["wait"] += self._ended - self._begun

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """What happens within is this stage, also when it fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._ended = time.perf_counter()
            self.seconds[stage] = self._ended - start

    def recorded(self) -> None:
        """It is committed: since the last stage it was being recorded."""
        now = time.perf_counter()
        self.seconds["record"] = now - self._ended
        self._ended = now

    @property
    def total_s(self) -> float:
        """From its row's commit until now, or rather until its last stage ended."""
        return self._age_s + self._ended - self._begun
