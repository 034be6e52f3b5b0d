"""SIGTERM asks a run to save what it has and end; what runs long looks here now and then."""

import signal
from types import FrameType


class Stop:
    """Hears SIGTERM from the moment it is made."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._hear)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


class Stopped(Exception):  # noqa: N818 - no error: what was asked for
    """The run was asked to end, and has saved what it had."""
