"""Ranks new cases as people open the queue, so that its order holds even while no worker runs."""

import threading
import time

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.queue import ranking
from db.review.settings import ReviewSettings
from db.schema import UNRANKED, Case
from db.stats.calibration import Calibration
from db.store.session import Database

#: Cases that one request ranks, and how long learned chances are used.
_AT_ONCE, _LEARNED_S = 200, 600.0


class NewCaseRanker:
    """Calls `ranking.rank_new` where there are new cases."""

    def __init__(self, database: Database, review: ReviewSettings) -> None:
        self._database = database
        self._review = review
        self._lock = threading.Lock()
        self._learned: tuple[float, Calibration] | None = None

    def __call__(self) -> None:
        """Rank the oldest new cases, in a transaction of its own."""
        with self._database.reading() as session:
            waits = _has_new(session)
        if waits:
            with self._database.writing() as session:
                self.rank(session)

    def rank(self, session: Session) -> None:
        """The same in this transaction. A login that may not write ranks leaves that to the workers."""
        if not _has_new(session):
            return
        calibration = self._chances(session)
        try:
            with session.begin_nested():
                ranking.rank_new(session, calibration, _AT_ONCE)
        except DBAPIError:
            return  # an order that is a little worse is better than no page

    def _chances(self, session: Session) -> Calibration:
        with self._lock:
            if self._learned is None or time.monotonic() - self._learned[0] > _LEARNED_S:
                found = ranking.learn_chances(session, self._review.review_prevalence)
                self._learned = time.monotonic(), found
            return self._learned[1]


def _has_new(session: Session) -> bool:
    new = select(Case.id).where(Case.state == "open", Case.priority == UNRANKED).limit(1)
    return session.scalar(new) is not None
