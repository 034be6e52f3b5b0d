"""When a model version that cannot serve is loaded again: after pauses that double, and with one line in the log."""

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from worker.core.outage import faults

log = logging.getLogger(__name__)

#: The longest pause, in seconds.
LONGEST_S = 600.0


@dataclass(slots=True)
class _Failures:
    times: int
    again_at: float
    why: str


class LoadBackoff:
    """The failures of each version since it was last loaded. One thread uses it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[int, _Failures] = {}

    def may_load(self, version_id: int) -> bool:
        """Whether the version's pause is over."""
        failures = self._failed.get(version_id)
        return failures is None or self._clock() >= failures.again_at

    def failed(self, version_id: int, name: str, error: Exception, first_s: float) -> None:
        """Pause for ``first_s``, doubled at each further failure; another reason than before is logged."""
        before = self._failed.get(version_id)
        times, why = (before.times if before else 0) + 1, f"{type(error).__name__}: {error}".splitlines()[0]
        pause_s = min(first_s * 2.0 ** min(times - 1, 30), LONGEST_S)
        if before is None or before.why != why:
            log.warning("model version %s cannot be loaded and is tried again in growing pauses: %s", name, why)
        self._failed[version_id] = _Failures(times, self._clock() + pause_s, why)
        faults.add("model", _what(version_id), why)

    def loaded(self, version_id: int, name: str) -> None:
        """Note that the version was loaded: its pauses and its fault end."""
        faults.remove("model", _what(version_id))
        if self._failed.pop(version_id, None) is not None:
            log.info("model version %s is loaded again", name)

    def forget_all_but(self, version_ids: Collection[int]) -> None:
        """A version that nobody asks for any more has no pause when it is asked for again."""
        for forgotten in self._failed.keys() - set(version_ids):
            faults.remove("model", _what(forgotten))
            del self._failed[forgotten]


def _what(version_id: int) -> str:
    return f"model version {version_id} cannot be loaded"
