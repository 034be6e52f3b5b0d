"""Ranks open cases for the queue's default order: new and urgent ones at once, all of them as decisions teach."""

import time

from db.queue import ranking
from db.queue.ranking import RankingPass
from db.review.settings import ReviewSettings
from db.stats.calibration import Calibration
from db.store import locks
from db.store.session import Database
from worker.core.periodic import PeriodicThread

LOCK = "ranking"
_PAUSE_S, _HOLD_S = 5.0, 60.0
#: Cases that one transaction ranks, and the time between two passes over all open cases.
_AT_ONCE, _AGAIN_S = 500, 600.0


class CaseRanker(PeriodicThread):
    """One worker at a time ranks: the one that holds the lock."""

    def __init__(self, database: Database, owner: str, review: ReviewSettings) -> None:
        super().__init__("case-ranker", "the queue's order", _PAUSE_S)
        self._database = database
        self._owner = owner
        self._review = review
        self._pass: RankingPass | None = None
        self._calibration: Calibration | None = None
        self._learned_at = 0.0

    def step(self) -> bool:
        """Rank new cases, those that have become urgent, and a part of all; False when nothing is left to do."""
        with self._database.writing() as session:
            if not locks.acquire(session, LOCK, self._owner, _HOLD_S):
                self._calibration = self._pass = None
                return False
        calibration = self._learn()
        with self._database.writing() as session:
            new = ranking.rank_new(session, calibration, _AT_ONCE)
            urgent = ranking.rank_urgent(session, calibration, _AT_ONCE)
        if self._pass is not None:
            with self._database.writing() as session:
                self._pass = ranking.rank_all(session, self._pass, _AT_ONCE)
        return _AT_ONCE in (new, urgent) or self._pass is not None

    def release_lock(self) -> None:
        """Let another worker rank at once."""
        with self._database.writing() as session:
            locks.release(session, LOCK, self._owner)

    def _learn(self) -> Calibration:
        """The chances, learned again every ten minutes; then all open cases are ranked by them."""
        now = time.monotonic()
        if self._calibration is None or now - self._learned_at > _AGAIN_S:
            with self._database.reading() as session:
                self._calibration = ranking.learn_chances(session, self._review.review_prevalence)
            self._learned_at, self._pass = now, RankingPass(0, self._calibration)
        return self._calibration
