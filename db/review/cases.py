"""Cases: accounts flagged under a policy, for reviewers to decide, with their flagged photos and account history.

An account has at most one open case for each policy.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, UnaryExpression, func, select, text, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from db.errors import NotFoundError
from db.schema import CASE_STATES, Case, Flag, Image, ModelVersion, Score, Threshold
from db.schema.clock import moment
from db.store.dialect import insert

#: By expected value (`db.queue.ranking`), by age, or by the highest score.
Order = Literal["value", "age", "score"]
_COLUMNS: dict[Order, str] = {"value": "priority", "age": "created_at", "score": "highest"}
#: The kind of a photo that is in a case for a person to see, and is no flag.
UNSTABLE = "unstable"
#: `account_history` lists at most this many other cases.
_OTHERS = 50


@dataclass(frozen=True, slots=True)
class NewFlag:
    """A new score at or above its threshold, or a signal that flags by itself: then with ``evidence``, in words.

    ``unstable``: the score is on both sides of the threshold when the photo is delivered again.
    """

    image_id: str
    score_id: int
    threshold_id: int | None
    evidence: str | None = None
    unstable: bool = False

    @property
    def kind(self) -> str:
        """What raised it: the score, what the file says, or both; or that it is unstable, and so no flag."""
        if self.unstable:
            return UNSTABLE
        return "+".join(
            [*(["score"] if self.threshold_id is not None else []), *(["provenance"] if self.evidence else [])]
        )


@dataclass(frozen=True, slots=True)
class CaseSummary:
    """A case in a list: the number of its flagged photos, and their highest score."""

    case: Case
    photos: int
    highest: float


@dataclass(frozen=True, slots=True)
class FlaggedPhoto:
    """A photo of a case, with its score, the model version that gave it, and why it was flagged.

    Without a ``threshold`` its score did not flag it: then ``evidence`` says what did.
    """

    flag_id: int
    kind: str
    evidence: str | None
    image: Image
    score: Score
    threshold: Threshold | None
    version: ModelVersion

    @property
    def unstable_words(self) -> str | None:
        """Why a person is to see it though it is not flagged; None for a flag."""
        if self.kind != UNSTABLE or self.score.low is None:
            return None
        return (
            f"Not flagged: the same photo, delivered again in {self.score.deliveries} ways (recompressed, scaled, "
            f"cropped), scores from {self.score.low:.4f} to {self.score.high:.4f}, on both sides of the threshold. "
            "The score cannot decide it; you can."
        )


@dataclass(frozen=True, slots=True)
class AccountHistory:
    """How many photos an account has uploaded, since when, and its other cases, newest first."""

    photos: int
    since: datetime | None
    cases: list[Case]


def raise_flags(session: Session, flagged: Sequence[NewFlag]) -> set[str]:
    """Add flags to their accounts' open cases, opening missing cases; returns the images that now have a flag.

    An image that reviewers have dismissed does not open a case again, nor does one whose account was erased.
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
            "kind": item.kind,
            "evidence": item.evidence,
        }
        for item in flagged
        if item.image_id in accounts
    ]
    if rows:
        session.execute(insert(session, Flag).values(rows).on_conflict_do_nothing())
    return set(accounts)


def _accounts(session: Session, image_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """``{image: (account, policy)}`` of the images that may open a case."""
    dismissed = select(Flag.image_id).join(Case).where(Case.state == "dismissed", Flag.image_id.in_(image_ids))
    statement = select(Image.id, Image.account_id, Image.policy).where(
        Image.id.in_(image_ids), Image.account_id.is_not(None), Image.id.not_in(dismissed)
    )
    return {row.id: (row.account_id, row.policy) for row in session.execute(statement)}


def _open_cases(session: Session, accounts: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The open case of each account and policy. The update locks it: nobody can close it before the flag is added."""
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
    where: Sequence[ColumnElement[bool]] = (),
) -> list[CaseSummary]:
    """Cases in this order. For the next page pass the last case of this page as ``after``."""
    # One query per state: each index is sorted within a state.
    conditions = [*where, *([Case.policy == policy] if policy is not None else [])]
    pages = [_page(session, each, conditions, limit, order, after) for each in ((state,) if state else CASE_STATES)]
    found = sorted((case for page in pages for case in page), key=_rank(order), reverse=order != "age")
    return summarise(session, found[:limit])


def list_few_cases(
    session: Session,
    where: Sequence[ColumnElement[bool]],
    limit: int,
    *,
    order: Order = "age",
    after: int | None = None,
) -> list[CaseSummary]:
    """The same for conditions that find few cases by an index of their own: all of them are found, and then sorted.

    Without the offset PostgreSQL would go through the cases in their order, hoping to find enough of them soon.
    """
    found = aliased(Case, select(Case).where(*_after(where, order, after)).offset(0).subquery())
    return summarise(session, list(session.scalars(select(found).order_by(*sort_key(order, found)).limit(limit))))


def has_unstable() -> ColumnElement[bool]:
    """A condition on `Case`: one of its photos is unstable."""
    return select(Flag.id).where(Flag.case_id == Case.id, Flag.kind == UNSTABLE).exists()


def sort_key(order: Order, of: type[Case] = Case) -> tuple[UnaryExpression[Any] | InstrumentedAttribute[Any], ...]:
    """What SQL sorts cases, or an alias of them, by in this order."""
    by = _column(order, of)
    return (by, of.id) if order == "age" else (by.desc(), of.id.desc())


def search_cases(session: Session, account_prefix: str, limit: int) -> list[CaseSummary]:
    """Cases of accounts whose id starts with this prefix (case-sensitive), by account, newest first."""
    statement = select(Case).where(_begins(session, account_prefix))
    statement = statement.order_by(Case.account_id, Case.id.desc()).limit(limit)
    return summarise(session, list(session.scalars(statement)))


def _page(
    session: Session,
    state: str,
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
    order: Order,
    after: int | None,
) -> list[Case]:
    statement = select(Case).where(*_after([Case.state == state, *conditions], order, after))
    return list(session.scalars(statement.order_by(*sort_key(order)).limit(limit)))


def _after(conditions: Sequence[ColumnElement[bool]], order: Order, after: int | None) -> Sequence[ColumnElement[bool]]:
    """The conditions, and that the case comes after this one in this order."""
    if after is None:
        return conditions
    last = aliased(Case)  # compared in SQL: SQLite compares times as text, and formats them differently from Python
    place = select(getattr(last, _COLUMNS[order])).where(last.id == after).scalar_subquery()
    here, there = tuple_(_column(order), Case.id), tuple_(place, after)
    return [*conditions, here > there if order == "age" else here < there]


def _column(order: Order, of: type[Case] = Case) -> InstrumentedAttribute[Any]:
    column: InstrumentedAttribute[Any] = getattr(of, _COLUMNS[order])
    return column


def _rank(order: Order) -> Callable[[Case], tuple[Any, int]]:
    return lambda case: (getattr(case, _COLUMNS[order]), case.id)


def summarise(session: Session, found: Sequence[Case]) -> list[CaseSummary]:
    """These cases as lines of a list."""
    counts = select(Flag.case_id, func.count()).where(Flag.case_id.in_([case.id for case in found]))
    photos: dict[int, int] = dict(session.execute(counts.group_by(Flag.case_id)).all())
    return [CaseSummary(case, photos.get(case.id, 0), case.highest) for case in found]


def _begins(session: Session, prefix: str) -> ColumnElement[bool]:
    """SQLite's LIKE ignores case and uses no index; PostgreSQL's collation may not sort by code point."""
    if session.get_bind().dialect.name == "postgresql":
        return Case.account_id.startswith(prefix, autoescape=True)
    return (Case.account_id >= prefix) & (Case.account_id < prefix + chr(sys.maxunicode))


def get_case(session: Session, case_id: int) -> Case:
    """A case by its id; raises `NotFoundError`."""
    case = session.get(Case, case_id)
    if case is None:
        raise NotFoundError(f"case {case_id} does not exist")
    return case


def flagged_photos(session: Session, case_id: int) -> list[FlaggedPhoto]:
    """A case's flagged photos, highest score first; a photo that two models flagged appears twice."""
    return [FlaggedPhoto(*row) for row in session.execute(_photos().where(Flag.case_id == case_id))]


def flagged_photo(session: Session, case_id: int, flag_id: int) -> FlaggedPhoto:
    """One flagged photo of a case; raises `NotFoundError`."""
    row = session.execute(_photos().where(Flag.case_id == case_id, Flag.id == flag_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"case {case_id} has no flag {flag_id}")
    return FlaggedPhoto(*row)


def _photos() -> Select[int, str, str | None, Image, Score, Threshold | None, ModelVersion]:
    return (
        select(Flag.id, Flag.kind, Flag.evidence, Image, Score, Threshold, ModelVersion)
        .join(Image, Image.id == Flag.image_id)
        .join(Score, Score.id == Flag.score_id)
        .outerjoin(Threshold, Threshold.id == Flag.threshold_id)
        .join(ModelVersion, ModelVersion.id == Score.version_id)
        .order_by(Score.score.desc(), Flag.id)
    )


def account_history(session: Session, case: Case) -> AccountHistory:
    """The history of a case's account; empty once the account is erased."""
    if case.account_id is None:
        return AccountHistory(0, None, [])
    counted = select(func.count(Image.id), func.min(Image.created_at)).where(Image.account_id == case.account_id)
    count, since = session.execute(counted).one()
    others = select(Case).where(Case.account_id == case.account_id, Case.id != case.id)
    return AccountHistory(count, since, list(session.scalars(others.order_by(Case.id.desc()).limit(_OTHERS))))


def other_photos(session: Session, case: Case, limit: int) -> list[Image]:
    """The account's newest photos that no flag of this case names; none once the account is erased."""
    flagged = select(Flag.image_id).where(Flag.case_id == case.id)
    others = select(Image).where(Image.account_id == case.account_id, Image.id.not_in(flagged), Image.url.is_not(None))
    return list(session.scalars(others.order_by(Image.created_at.desc(), Image.id).limit(limit)))


def sample_cases(session: Session, count: int) -> list[int]:
    """Ids of up to ``count`` cases, drawn at random."""
    return list(session.scalars(select(Case.id).order_by(func.random()).limit(count)))
