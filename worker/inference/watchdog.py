"""A watchdog over each forward pass: a broken device or a hanging batch ends the process, and fails no image."""

import sys
import threading
from collections.abc import Callable, Sequence

from trainer.pixels.preprocess import Pixels
from worker.core.errors import StoppingError
from worker.inference.batch_limit import BatchLimit, is_out_of_memory
from worker.inference.scorer import Reading, Scorer

#: Parts of torch's errors when the device, or our context on it, is lost; running out of memory says something else.
_BROKEN = ("CUDA error", "cuDNN error", "CUBLAS_STATUS")
#: Seconds of running that an overdue batch gets before it counts as hanging: time that the whole process was stopped
#: counts as well, and the batch may have been about to end.
_GRACE_S = 3.0


class WatchedScorer:
    """A scorer for any threads, which calls ``on_broken(why)`` when it hangs or its device breaks.

    A batch that does not fit into memory is scored in parts; ``limit`` remembers how large they may be.
    """

    def __init__(
        self,
        scorer: Scorer,
        timeout_s: float,
        on_broken: Callable[[str], None],
        limit: BatchLimit | None = None,
        grace_s: float = _GRACE_S,
    ) -> None:
        self._scorer = scorer
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._on_broken = on_broken
        self._limit = limit or BatchLimit(sys.maxsize)
        self._turn = threading.Semaphore(scorer.in_flight)

    def read(self, batch: Sequence[Pixels]) -> list[Reading]:
        """Read as `Scorer.read` does; raises `StoppingError` when the device failed, and what the scorer raises."""
        readings: list[Reading] = []
        with self._turn:
            while len(readings) < len(batch):
                readings += self._read_some(batch[len(readings) :])
        return readings

    def score(self, batch: Sequence[Pixels]) -> list[float]:
        """The scores alone; raises as `read` does."""
        return [reading.score for reading in self.read(batch)]

    def _read_some(self, batch: Sequence[Pixels]) -> list[Reading]:
        """What is said of the first pictures, as many as fit into memory; raises for a single one that does not."""
        size = min(len(batch), self._limit.images)
        while True:
            try:
                return self._read_watched(batch[:size])
            except (RuntimeError, MemoryError) as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
            # Only here is what the failed pass held free again: the error kept it.
            size = self._limit.lower(size, str(self._scorer.device))

    def _read_watched(self, batch: Sequence[Pixels]) -> list[Reading]:
        done = threading.Event()
        threading.Thread(target=self._watch, args=(done, len(batch)), name="batch-watchdog", daemon=True).start()
        try:
            return self._scorer.read(batch)
        except RuntimeError as error:
            if is_out_of_memory(error) or not any(sign in str(error) for sign in _BROKEN):
                raise
            self._on_broken(f"{self._scorer.device} broke: {str(error).splitlines()[0]}")
            raise StoppingError("the device failed") from error
        finally:
            done.set()

    def _watch(self, done: threading.Event, size: int) -> None:
        if not done.wait(self._timeout_s) and not done.wait(self._grace_s):
            self._on_broken(self._too_late(size))

    def _too_late(self, size: int) -> str:
        return f"a batch of {size} images took longer than {self._timeout_s:g} s on {self._scorer.device}"
