"""What a policy's new action on signals does to cases: held to a budget, and done in one transaction.

Photos that are in the record already are flagged, too. Nothing is withdrawn when a policy stops flagging: people decide
the cases that are open.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.models import versions
from db.policy import case_changes, pauses, policies, signal_actions
from db.policy.case_changes import AccountLine, Budget, ChangeEffect
from db.review import bulk_flags
from db.schema import Case, Flag, Score
from db.work import on_demand


def set_actions(session: Session, name: str, changes: Mapping[str, str], budget: Budget) -> int:
    """Change a policy's actions, ``{kind: action}``, and flag what they flag; returns how many cases opened.

    Raises `NotFoundError` for an unknown policy, and `ConflictError` for a flood that nobody confirmed. While flagging
    is paused no case changes: `unmask threshold apply` does it after the pause.
    """
    case_changes.lock_versions(session)  # so that each score is seen here, or recorded by the new actions
    row = policies.find_policy(session, name)
    row.signal_actions = {**(row.signal_actions or {}), **changes}
    session.flush()
    active = versions.find_active(session)
    if active is None or "flagging" in pauses.current_pauses(session):
        return 0
    return apply_actions(session, active.id, budget)


def apply_actions(session: Session, version_id: int, budget: Budget) -> int:
    """Flag the photos of the record that policies flag for a signal; returns how many cases opened.

    Call `case_changes.lock_versions` before. Raises `ConflictError` for a flood that nobody confirmed.
    """
    opened = 0
    for photos in signal_actions.flagged_by_signals(session, version_id):
        budget.check(_effect(session, photos))
        opened += bulk_flags.open_cases(session, photos)
    on_demand.request_hashes(session, Flag.evidence.is_not(None))
    return opened


def _effect(session: Session, photos: Select[*tuple[Any, ...]]) -> ChangeEffect:
    found = photos.subquery()
    is_open = select(Case.id).where(
        Case.account_id == found.c.account_id, Case.policy == found.c.policy, Case.state == "open"
    )
    statement = (
        select(found.c.account_id, found.c.policy, func.count(), func.max(Score.score), is_open.scalar_subquery())
        .join(Score, Score.id == found.c.score_id)
        .group_by(found.c.account_id, found.c.policy)
    )
    rows = session.execute(statement).all()
    opens = [AccountLine(*row[:4]) for row in rows if row[4] is None]
    return ChangeEffect(opens, [], sum(row[2] for row in rows if row[4] is not None), 0)
