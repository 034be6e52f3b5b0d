"""Looks whether blind verdicts or drift contradict certified thresholds, and records which certificates expire."""

import logging

from db.quality.certificates import expire_certificates, expiry_words
from db.store import locks
from db.store.session import Database
from worker.core.periodic import PeriodicThread

log = logging.getLogger(__name__)

LOCK = "certificates"
#: Drift reads the scores of a week and a day, so one process looks so often, as for the metrics.
EVERY_S = 900.0


class CertificateWatch(PeriodicThread):
    """Looks every quarter of an hour, in one of all workers."""

    def __init__(self, database: Database, owner: str) -> None:
        super().__init__("certificate-watch", "certificates of thresholds are not watched", EVERY_S)
        self._database = database
        self._owner = owner

    def step(self) -> bool:
        """Look once, unless another worker has just done so; always False, since the next look can wait."""
        with self._database.writing() as session:
            ours = locks.acquire(session, LOCK, self._owner, EVERY_S)
        if not ours:
            return False
        for row in expire_certificates(self._database):
            log.warning("policy %r: %s", row.policy, expiry_words(row))
        return False

    def release_lock(self) -> None:
        """Let another worker look; raises `DatabaseError`."""
        with self._database.writing() as session:
            locks.release(session, LOCK, self._owner)
