"""Cases: accounts that were flagged under a policy, for people to decide. At most one is open for each."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, func, select, text, tuple_
from sqlalchemy.orm import Session, aliased

from db.schema.clock import moment
from db.errors import NotFoundError
from db.store.insert import insert
from db.schema import CASE_STATES, Case, Flag, Image, Score, Threshold

Order = Literal["age", "score"]


@dataclass(frozen=True, slots=True)
class Flagged:
    """A new score that is at or above its threshold."""

    image_id: str
    score_id: int
    threshold_id: int


@dataclass(frozen=True, slots=True)
class CaseLine:
    """A case in a list."""

    case: Case
    photos: int
    highest: float


@dataclass(frozen=True, slots=True)
class FlagLine:
    """A flagged photo of a case, with the score and the threshold that flagged it."""

    image: Image
    score: Score
    threshold: Threshold


def raise_flags(session: Session, flagged: Sequence[Flagged]) -> set[str]:
    """Add flags to their accounts' open cases, opening those that are missing; returns the images that have one now.

    An image that people have dismissed does not open a case again, nor does one whose account was erased.
    """
    if not flagged:
        return set()
    accounts = _accounts(session, [item.image_id for item in flagged])
    cases = _open_cases(session, sorted(set(accounts.values())))
    rows = [
        {
            "case_id": cases[accounts[item.image_id]],
            "image_id": item.image_id,
            "score_id": item.score_id,
            "threshold_id": item.threshold_id,
        }
        for item in flagged
        if item.image_id in accounts
    ]
    if rows:
        session.execute(insert(session, Flag).values(rows).on_conflict_do_nothing())
    return set(accounts)


def _accounts(session: Session, image_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """``{image: (account, policy)}`` of those that may open a case."""
    dismissed = select(Flag.image_id).join(Case).where(Case.state == "dismissed", Flag.image_id.in_(image_ids))
    statement = select(Image.id, Image.account_id, Image.policy).where(
        Image.id.in_(image_ids), Image.account_id.is_not(None), Image.id.not_in(dismissed)
    )
    return {row.id: (row.account_id, row.policy) for row in session.execute(statement)}


def _open_cases(session: Session, accounts: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The open case of each account and policy. The update locks it, so that nobody closes it before the flag is in."""
    if not accounts:
        return {}
    statement = (
        insert(session, Case)
        .values([{"account_id": account, "policy": policy} for account, policy in accounts])
        .on_conflict_do_update(
            index_elements=["account_id", "policy"],
            index_where=text("state = 'open'"),  # a bound value would hide the index from PostgreSQL's generic plans
            set_={"version": Case.version + 1, "changed_at": moment()},
        )
        .returning(Case.account_id, Case.policy, Case.id)
    )
    return {(row.account_id, row.policy): row.id for row in session.execute(statement)}


def list_cases(
    session: Session,
    state: str | None,
    policy: str | None,
    limit: int,
    *,
    order: Order = "age",
    after: int | None = None,
) -> list[CaseLine]:
    """Cases, the oldest first or the highest score first; the next page begins ``after`` the last case of this one."""
    # One state at a time, since the indexes are in the order of each.
    pages = [_page(session, each, policy, limit, order, after) for each in ((state,) if state else CASE_STATES)]
    rank = _rank(order)
    found = sorted((case for page in pages for case in page), key=rank, reverse=order == "score")
    return _lines(session, found[:limit])


def search(session: Session, account_prefix: str, limit: int) -> list[CaseLine]:
    """Cases of accounts whose id begins so, by account, the latest first; upper and lower case differ."""
    statement = select(Case).where(_begins(session, account_prefix))
    statement = statement.order_by(Case.account_id, Case.id.desc()).limit(limit)
    return _lines(session, list(session.scalars(statement)))


def _page(session: Session, state: str, policy: str | None, limit: int, order: Order, after: int | None) -> list[Case]:
    statement = select(Case).where(Case.state == state)
    if policy is not None:
        statement = statement.where(Case.policy == policy)
    by = Case.created_at if order == "age" else Case.highest
    if after is not None:
        last = aliased(Case)  # looked up there: SQLite compares times as text, and writes them otherwise than we do
        place = select(last.created_at if order == "age" else last.highest).where(last.id == after).scalar_subquery()
        here, there = tuple_(by, Case.id), tuple_(place, after)
        statement = statement.where(here > there if order == "age" else here < there)
    rank = (by, Case.id) if order == "age" else (by.desc(), Case.id.desc())
    return list(session.scalars(statement.order_by(*rank).limit(limit)))


def _rank(order: Order) -> Callable[[Case], tuple[Any, int]]:
    return lambda case: (case.created_at if order == "age" else case.highest, case.id)


def _lines(session: Session, found: Sequence[Case]) -> list[CaseLine]:
    counts = select(Flag.case_id, func.count()).where(Flag.case_id.in_([case.id for case in found]))
    photos: dict[int, int] = dict(session.execute(counts.group_by(Flag.case_id)).all())
    return [CaseLine(case, photos.get(case.id, 0), case.highest) for case in found]


def _begins(session: Session, prefix: str) -> ColumnElement[bool]:
    """SQLite's LIKE takes upper for lower case, and no index; PostgreSQL's order may not be that of characters."""
    if session.get_bind().dialect.name == "postgresql":
        return Case.account_id.startswith(prefix, autoescape=True)
    return (Case.account_id >= prefix) & (Case.account_id < prefix + chr(sys.maxunicode))


def show_case(session: Session, case_id: int) -> tuple[Case, list[FlagLine]]:
    """One case and its flagged photos, the highest score first."""
    case = session.get(Case, case_id)
    if case is None:
        raise NotFoundError(f"case {case_id} is not in the record")
    statement = (
        select(Image, Score, Threshold)
        .join(Flag, Flag.image_id == Image.id)
        .join(Score, Score.id == Flag.score_id)
        .join(Threshold, Threshold.id == Flag.threshold_id)
        .where(Flag.case_id == case_id)
        .order_by(Score.score.desc())
    )
    return case, [FlagLine(image, score, threshold) for image, score, threshold in session.execute(statement)]


def sample(session: Session, count: int) -> list[int]:
    """Ids of cases that chance picks."""
    return list(session.scalars(select(Case.id).order_by(func.random()).limit(count)))
