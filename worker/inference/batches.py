"""Scores batches under watch: a device that broke or a batch that hangs is the process's end, and no image's fault."""

import threading
from collections.abc import Callable, Sequence

from trainer.pixels.preprocess import Pixels
from worker.core.errors import StoppingError
from worker.inference.scorer import Scorer

#: What torch says when the device, or our hold on it, is past saving; running out of memory says something else.
_BROKEN = ("CUDA error", "cuDNN error", "CUBLAS_STATUS")


class Watched:
    """A scorer that calls ``broken(why)`` when it can be used no more; not thread-safe, as the scorer itself."""

    def __init__(self, scorer: Scorer, timeout_s: float, broken: Callable[[str], None]) -> None:
        self._scorer = scorer
        self._timeout_s = timeout_s
        self._broken = broken

    def score(self, batch: Sequence[Pixels]) -> list[float]:
        """As the scorer; raises `StoppingError` when the device broke."""
        watch = threading.Timer(self._timeout_s, self._broken, [self._late(len(batch))])
        watch.daemon = True
        watch.start()
        try:
            return self._scorer.score(batch)
        except RuntimeError as error:
            if not any(sign in str(error) for sign in _BROKEN):
                raise
            self._broken(f"{self._scorer.device} broke: {str(error).splitlines()[0]}")
            raise StoppingError("the device broke") from error
        finally:
            watch.cancel()

    def _late(self, size: int) -> str:
        return f"a batch of {size} images took longer than {self._timeout_s:g} s on {self._scorer.device}"
