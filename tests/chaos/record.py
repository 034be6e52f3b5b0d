"""Checks the record after a fault: nothing lost, nothing scored twice, and every score and reason the right one."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.schema import Case, Flag, Image, Score
from db.store.session import Database
from tests.chaos.kinds import REASONS, Upload

#: A score is that of its picture within this.
TOLERANCE = 1e-4
#: From which score on the suite's policies flag.
THRESHOLD = 0.5

_Row = Any


@dataclass(frozen=True, slots=True)
class Findings:
    """How many images there are, how many were leased more than once, and which are wrong."""

    images: int
    again: int
    lost: frozenset[str]
    duplicated: frozenset[str]
    wrong: frozenset[str]

    def since(self, earlier: Self) -> "Findings":
        """The problems that are new."""
        return Findings(
            self.images - earlier.images,
            self.again - earlier.again,
            self.lost - earlier.lost,
            self.duplicated - earlier.duplicated,
            self.wrong - earlier.wrong,
        )


def look(database: Database, committed: AbstractSet[str], expected: Mapping[str, float]) -> Findings:
    """Compare every row with what was committed, and with the score that its picture must have."""
    with database.reading() as session:
        rows = session.execute(select(Image.id, Image.state, Image.reason, Image.lease_owner, Image.attempts)).all()
        scores = dict(session.execute(select(Score.image_id, Score.score)).all())
        flagged = set(session.scalars(select(Flag.image_id)))
        duplicated = _duplicated(session)
    gone = {f"{image_id}: its commit returned, and there is no row" for image_id in committed - {r.id for r in rows}}
    return Findings(
        images=len(rows),
        again=sum(row.attempts > 1 for row in rows),
        lost=frozenset(gone | {said for row in rows if (said := _loss(row, scores))}),
        duplicated=duplicated,
        wrong=frozenset(said for row in rows if (said := _mistake(row, scores, flagged, expected))),
    )


def _duplicated(session: Session) -> frozenset[str]:
    once = {
        "scores of an image by a model": (Score.image_id, Score.version_id),
        "flags of a score": (Flag.score_id,),
    }
    found = [
        f"{count} {what}: {key}"
        for what, columns in once.items()
        for *key, count in session.execute(select(*columns, func.count()).group_by(*columns).having(func.count() > 1))
    ]
    accounts = select(Case.account_id, Case.policy, func.count()).where(Case.state == "open")
    cases = accounts.group_by(Case.account_id, Case.policy).having(func.count() > 1)
    found += [f"{count} open cases of {account}, {policy}" for account, policy, count in session.execute(cases)]
    return frozenset(found)


def _loss(row: _Row, scores: Mapping[str, float]) -> str | None:
    """No score where there must be one, or no reason where there is none."""
    if row.state == "scored":
        return None if row.id in scores else f"{row.id}: scored, without a score"
    if row.state == "pending":
        return f"{row.id}: stuck after {row.attempts} attempts ({row.reason}, in hand of {row.lease_owner})"
    if row.reason is None:
        return f"{row.id}: {row.state} without a reason"
    if REASONS[Upload.of(row.id).kind] is None:
        return f"{row.id}: a good picture, {row.state} as {row.reason}"
    return None


def _mistake(
    row: _Row, scores: Mapping[str, float], flagged: AbstractSet[str], expected: Mapping[str, float]
) -> str | None:
    """Images with another score, flag or reason than they must have, or with a lease that is left."""
    upload = Upload.of(row.id)
    reason, must = REASONS[upload.kind], expected[upload.picture]
    if row.state != "pending" and row.lease_owner is not None:
        return f"{row.id}: {row.state}, and still in hand of {row.lease_owner}"
    if reason is not None and (row.state, row.reason) == ("scored", None):
        return f"{row.id}: scored, and not {reason}"
    if reason is not None and row.state != "pending" and row.reason != reason:
        return f"{row.id}: {row.reason}, and not {reason}"
    if row.id in scores and abs(scores[row.id] - must) > TOLERANCE:
        return f"{row.id}: score {scores[row.id]}, and not {must}"
    if row.id in scores and (row.id in flagged) != (must >= THRESHOLD):
        return f"{row.id}: score {must} {'flagged' if row.id in flagged else 'not flagged'}"
    return None
