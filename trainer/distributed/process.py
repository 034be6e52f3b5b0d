"""This process of a run: its share of the machine's cores, and whether it was told to end. No torch here."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self


def cores() -> int:
    """How many cores this process may use: those of its CPU affinity, divided by torchrun's ranks here; at least 1."""
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class StopSignal:
    """Remembers SIGTERM within a ``with`` block: a run that is told to end saves what it has, and ends.

    After the block the process handles SIGTERM as before. Only the main thread hears it: Python lets no other thread
    set handlers, and a run in another thread goes on until its process ends.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: object = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if callable(self._before) or isinstance(self._before, int):  # None: a handler that Python did not set
            signal.signal(signal.SIGTERM, self._before)

    def __call__(self) -> bool:
        """Whether the process has received SIGTERM."""
        return self.asked

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


class Stopped(Exception):  # noqa: N818 - the user asked for it: no error
    """The run was told to end, and has saved what it had."""
