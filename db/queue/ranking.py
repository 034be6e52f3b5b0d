"""The default order of the queue: what a decision about a case is expected to be worth.

value = chance that the account is fake x accounts that share its photos x 2^(age in days)

The priority of a case is the value's logarithm at one fixed moment. As all cases age alike, it never changes with time:
an index sorts by it, and pages do not shift. One day of waiting counts as much as twice the chance. Appealed cases and
those that are about to miss their target time come first, the soonest due before the others.
"""

import math
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from db.models import versions
from db.models.references import card_reals
from db.queue import targets
from db.schema import UNRANKED, Appeal, Case, Flag, Image, PerceptualHash, Score
from db.stats.calibration import Calibration, calibrate, prior_chance

#: Priorities of urgent cases lie above this, those of all others below 0; `UNRANKED` lies between.
URGENT = 600_000
_URGENT_TOP = 1_000_000
#: Cases decided last, from which chances are learned.
_DECIDED = 10_000
_DAY_S = 86_400.0
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_LEAST_CHANCE = 1e-6


@dataclass(frozen=True, slots=True)
class RankingPass:
    """How far a pass over all open cases has come: the last case's id, and the chances that it uses."""

    after: int
    calibration: Calibration


def learn_chances(session: Session, prevalence: float) -> Calibration:
    """Chances by score of the active model: of its latest decided cases, and before those of reals and prevalence.

    Without reference reals in the model's card, and before anybody decides, each chance is a half.
    """
    version = versions.find_active(session)
    reals = card_reals(version) if version is not None else None

    def prior(score: float) -> float:
        if reals is None:
            return 0.5
        return prior_chance(prevalence, len(reals.scores) - bisect_left(reals.scores, score), len(reals.scores))

    if version is None:
        return Calibration(prior)
    rows = session.execute(
        select(Case.highest, Case.state)
        .where(Case.state.in_(("confirmed", "dismissed")), _is_scored_by(version.id))
        .order_by(Case.id.desc())
        .limit(_DECIDED)
    )
    return calibrate([(highest, state == "confirmed") for highest, state in rows], prior)


def rank_new(session: Session, calibration: Calibration, limit: int) -> int:
    """Rank cases that nobody has ranked yet; returns how many."""
    return _rank(session, [Case.state == "open", Case.priority == UNRANKED], calibration, limit)


def rank_urgent(session: Session, calibration: Calibration, limit: int) -> int:
    """Move cases to the front that have become urgent; returns how many."""
    soon = {policy: (1 - targets.SOON) * target_s for policy, target_s in targets.targets(session).items()}
    late = [targets.waits_longer(soon), Case.state == "open", Case.priority < URGENT]
    appealed = [Case.state == "open", Case.priority < URGENT, Case.id.in_(select(Appeal.case_id))]
    found = _rank(session, late, calibration, limit) if soon else 0
    return found + _rank(session, appealed, calibration, limit)


def rank_all(session: Session, begun: RankingPass, limit: int) -> RankingPass | None:
    """Rank the next open cases again, as chances change with decisions; None once all are ranked."""
    which = [Case.state == "open", Case.id > begun.after]
    cases = _locked(session, which, limit)
    _write(session, cases, begun.calibration)
    return RankingPass(cases[-1].id, begun.calibration) if len(cases) == limit else None


def count_sharing(session: Session, case_ids: Collection[int]) -> dict[int, int]:
    """How many accounts have a flagged photo with the same perceptual hash, mirrored or not, as one of each case's."""
    mine, theirs, photo, owner = aliased(PerceptualHash), aliased(PerceptualHash), aliased(Flag), aliased(Image)
    alike = or_(theirs.hash == mine.hash, theirs.hash == mine.mirrored)
    statement = (
        select(photo.case_id, func.count(owner.account_id.distinct()))
        .join(mine, mine.image_id == photo.image_id)
        .join(theirs, alike)
        .join(owner, owner.id == theirs.image_id)
        .where(photo.case_id.in_(case_ids))
        .group_by(photo.case_id)
    )
    return {case_id: max(1, count) for case_id, count in session.execute(statement)}


def priority(chance: float, sharing: int, opened: datetime) -> float:
    """The logarithm of a case's value, of base 2, had it been opened on 1 January 2020; always below 0."""
    days = (opened - _EPOCH).total_seconds() / _DAY_S
    return math.log2(max(chance, _LEAST_CHANCE) * sharing) - days


def urgent_priority(due: datetime) -> float:
    """The priority of a case that is urgent: the sooner it is due, the higher."""
    return _URGENT_TOP - (due - _EPOCH).total_seconds() / _DAY_S


def _is_scored_by(version_id: int) -> ColumnElement[bool]:
    scored = select(Flag.id).join(Score, Score.id == Flag.score_id)
    return scored.where(Flag.case_id == Case.id, Score.version_id == version_id).correlate(Case).exists()


def _rank(session: Session, which: Sequence[ColumnElement[bool]], calibration: Calibration, limit: int) -> int:
    cases = _locked(session, which, limit)
    _write(session, cases, calibration)
    return len(cases)


def _locked(session: Session, which: Sequence[ColumnElement[bool]], limit: int) -> list[Case]:
    """Cases to rank; those that a reviewer is just deciding are left out, and found again later."""
    statement = select(Case).where(*which).order_by(Case.id).limit(limit)
    return list(session.scalars(statement.with_for_update(skip_locked=True)))


def _write(session: Session, cases: Sequence[Case], calibration: Calibration) -> None:
    if not cases:
        return
    sharing = count_sharing(session, [case.id for case in cases])
    appealed = targets.appealed_at(session, [case.id for case in cases])
    due = targets.dues(session, cases)
    rows = []
    for case in cases:
        chance, shared = calibration.chance(case.highest), sharing.get(case.id, 1)
        found = priority(chance, shared, case.created_at)
        if case.id in appealed or (case.id in due and due[case.id].state != "later"):
            found = urgent_priority(due[case.id].at if case.id in due else appealed[case.id])
        rows.append({"id": case.id, "priority": found, "chance": chance, "sharing": shared})
    session.execute(update(Case), rows)
