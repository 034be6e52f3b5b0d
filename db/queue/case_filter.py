"""Filters of the queue, as its URL writes them, and the SQL that they become."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self, cast, get_args

from sqlalchemy import ColumnElement, exists, false, func, select
from sqlalchemy.orm import Session, aliased

from db.errors import DbError
from db.file_signals import AI, AI_EDITED, TITLES
from db.queue import targets
from db.review.cases import CaseSummary, Order, has_unstable, list_cases, list_few_cases
from db.schema import CASE_STATES, Appeal, Case, Flag, ModelVersion, Review, Signal, Threshold
from db.schema.clock import moment

#: Parameters of the URL, and the values that they may have; None: any text.
PARAMETERS: Mapping[str, tuple[str, ...] | None] = {
    "state": (*CASE_STATES, "all"),
    "policy": None,
    "order": get_args(Order),
    "appealed": ("yes", "no"),
    "due": ("soon", "late"),
    "assignee": None,
    "decided_by": None,
    "since": None,
    "until": None,
    "disagreed": ("yes",),
    "unstable": ("yes", "no"),
    "signal": tuple(TITLES),
    "generator": None,
    "model": None,
}
#: Those that tell of photos what a blind reviewer must not learn.
TELLING = ("signal", "generator", "model", "unstable")
_YES_NO = {"yes": True, "no": False}
#: In place of a name: whoever asks, and nobody.
ME, NOBODY = "me", "nobody"
#: Larger counts read "more than".
COUNTED = 10_000
#: The kinds of signals whose values are the names of generators.
SAYING_AI = (AI, AI_EDITED)
_MOST_GENERATORS = 200


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Which cases to list, in which order. Dates are days in UTC, both included; ``state`` None: every state.

    ``signal``: a kind of `db.file_signals` that a flagged photo has. ``generator``: what the file of one names as the
    generator. ``model``: the model version whose threshold flagged one. No score knows an engine or its family.
    """

    state: str | None = "open"
    policy: str | None = None
    order: Order = "value"
    appealed: bool | None = None
    due: str | None = None
    assignee: str | None = None
    decided_by: str | None = None
    since: date | None = None
    until: date | None = None
    disagreed: bool = False
    unstable: bool | None = None
    signal: str | None = None
    generator: str | None = None
    model: str | None = None

    @classmethod
    def parse(cls, given: Mapping[str, str], me: str) -> Self:
        """Read parameters of a URL; ``me`` stands for "me". Raises `DbError`, which names the bad one."""
        for name, allowed in PARAMETERS.items():
            value = given.get(name, "")
            if value and allowed is not None and value not in allowed:
                raise DbError(f"{name} {value!r} is unknown: use {', '.join(allowed)}")
        state = given.get("state") or "open"
        order = given.get("order") or "value"
        return cls(
            None if state == "all" else state,
            given.get("policy") or None,
            next(one for one in get_args(Order) if one == order),
            _YES_NO.get(given.get("appealed", "")),
            given.get("due") or None,
            me if given.get("assignee") == ME else given.get("assignee") or None,
            me if given.get("decided_by") == ME else given.get("decided_by") or None,
            _day("since", given.get("since", "")),
            _day("until", given.get("until", "")),
            given.get("disagreed") == "yes",
            _YES_NO.get(given.get("unstable", "")),
            *(given.get(name) or None for name in ("signal", "generator", "model")),
        )

    @property
    def tells_of_photos(self) -> bool:
        """Whether being found tells what photos' files say, what flagged them, or that they lie near the threshold."""
        return any(getattr(self, name) is not None for name in TELLING)

    def conditions(self, session: Session) -> list[ColumnElement[bool]]:
        """The SQL conditions on `Case`, but for state and policy."""
        found = [
            self._was_appealed(),
            self._is_due(session),
            self._is_held(),
            _decided_by(self.decided_by) if self.decided_by else None,
            Case.created_at >= _start(self.since) if self.since else None,
            Case.created_at < _start(self.until) + timedelta(days=1) if self.until else None,
            cast("ColumnElement[bool]", Case.disputed) if self.disagreed else None,
            self._is_unstable(),
            _has_signal(Signal.kind == self.signal) if self.signal else None,
            _has_signal(Signal.kind.in_(SAYING_AI), Signal.value == self.generator) if self.generator else None,
            _flagged_by(session, self.model) if self.model else None,
        ]
        return [condition for condition in found if condition is not None]

    def of_state_and_policy(self) -> list[ColumnElement[bool]]:
        """The conditions of state and policy."""
        wanted = {"state": self.state, "policy": self.policy}
        return [getattr(Case, name) == value for name, value in wanted.items() if value is not None]

    def _was_appealed(self) -> ColumnElement[bool] | None:
        if self.appealed is None:
            return None
        appealed = Case.id.in_(select(Appeal.case_id))
        return appealed if self.appealed else ~appealed

    def _is_unstable(self) -> ColumnElement[bool] | None:
        if self.unstable is None:
            return None
        return has_unstable() if self.unstable else ~has_unstable()

    def _is_due(self, session: Session) -> ColumnElement[bool] | None:
        if self.due is None:
            return None
        share = 1.0 if self.due == "late" else 1 - targets.SOON
        return targets.waits_longer({name: share * target_s for name, target_s in targets.targets(session).items()})

    def _is_held(self) -> ColumnElement[bool] | None:
        if self.assignee is None:
            return None
        if self.assignee == NOBODY:
            return Case.held_by.is_(None) | (Case.held_until <= moment())
        return (Case.held_by == self.assignee) & (Case.held_until > moment())


def find_cases(session: Session, wanted: CaseFilter, limit: int, after: int | None = None) -> list[CaseSummary]:
    """A page of these cases, after the case ``after``."""
    where = wanted.conditions(session)
    if wanted.decided_by is not None:
        where += wanted.of_state_and_policy()
        return list_few_cases(session, where, limit, order=wanted.order, after=after)
    return list_cases(session, wanted.state, wanted.policy, limit, order=wanted.order, after=after, where=where)


def count_cases(session: Session, wanted: CaseFilter) -> int:
    """How many cases these filters find; at most one more than `COUNTED`, so that counting is always quick."""
    statement = select(Case.id).where(*wanted.conditions(session), *wanted.of_state_and_policy())
    return session.scalar(select(func.count()).select_from(statement.limit(COUNTED + 1).subquery())) or 0


def known_generators(session: Session) -> list[str]:
    """What photos' files name as their generators, in alphabetical order; the first 200."""
    return sorted({name for kind in SAYING_AI for name in _values(session, kind)})[:_MOST_GENERATORS]


def _values(session: Session, kind: str) -> Sequence[str]:
    """Each value found by the index as the next one after the last: there may be millions of signals."""
    first = select(func.min(Signal.value).label("value")).where(Signal.kind == kind).cte("known", recursive=True)
    following = aliased(Signal)
    after = select(func.min(following.value)).where(following.kind == kind, following.value > first.c.value)
    known = first.union_all(select(after.correlate(first).scalar_subquery()).where(first.c.value.is_not(None)))
    return session.scalars(select(known.c.value).where(known.c.value.is_not(None)).limit(_MOST_GENERATORS)).all()


def _has_signal(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    """A flagged photo of the case has such a signal."""
    return Case.id.in_(select(Flag.case_id).join(Signal, Signal.image_id == Flag.image_id).where(*which))


def _flagged_by(session: Session, model: str) -> ColumnElement[bool]:
    """A threshold of this model version flagged a photo of the case. The database plans better with known numbers."""
    owned = select(Threshold.id).join(ModelVersion, ModelVersion.id == Threshold.version_id)
    thresholds = session.scalars(owned.where(ModelVersion.name == model)).all()
    return Case.id.in_(select(Flag.case_id).where(Flag.threshold_id.in_(thresholds))) if thresholds else false()


def _day(name: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise DbError(f"{name} {text!r} is not a day such as 2026-01-31") from error


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _decided_by(reviewer: str) -> ColumnElement[bool]:
    """The reviewer has a decision that nobody has undone."""
    undo = aliased(Review)
    mine = select(Review.case_id).where(Review.reviewer == reviewer, Review.decision != "undone")
    undone = select(undo.id).where(undo.undoes == Review.id, undo.undoes.is_not(None))  # or all others are read, too
    return Case.id.in_(mine.where(~exists(undone)))
