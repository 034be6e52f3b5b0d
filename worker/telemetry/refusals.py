"""Counts refused messages by reason, and logs them at a bounded rate."""

import logging
import threading
import time
from collections import Counter

log = logging.getLogger(__name__)

#: Least time between two log lines about refused messages.
QUIET_S = 10.0
#: Why a message may be refused. "conflict": its image is known with another account, URL or policy.
REFUSALS = ("not_a_message", "unknown_task", "unknown_field", "too_large", "bad_id", "conflict")


class Refusals:
    """Counts refused messages, and logs one at most every ``quiet_s`` seconds; safe between threads."""

    def __init__(self, quiet_s: float = QUIET_S) -> None:
        self.counts: Counter[str] = Counter()
        self._quiet_s = quiet_s
        self._logged_at = -quiet_s
        self._lock = threading.Lock()

    def add(self, reason: str, detail: str) -> None:
        """Count one refused message, and log it unless another was logged a moment ago."""
        with self._lock:
            self.counts[reason] += 1
            now = time.monotonic()
            if now - self._logged_at >= self._quiet_s:
                self._logged_at = now
                log.warning("%d messages refused so far, the latest: %s", self.counts.total(), detail)


#: The refusals of this process.
refusals = Refusals()
