"""The audit log: who saw and did what in the console. Entries name cases and images, never accounts."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from db.schema import ID_LENGTH, AuditEntry

_AT_ONCE = 1000
#: Lists for filters hold at most so many values.
_MOST_VALUES = 200


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries: of a person, action, case or image, from ``since`` to before ``until``, older than ``before``."""

    who: str | None = None
    what: str | None = None
    case_id: int | None = None
    image_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


def log(
    session: Session,
    who: str,
    what: str,
    *,
    case_id: int | None = None,
    image_id: str | None = None,
    detail: str | None = None,
) -> None:
    """Write an entry in the transaction of the action that it records."""
    session.add(AuditEntry(who=who[:ID_LENGTH], what=what, case_id=case_id, image_id=image_id, detail=detail))


def find_entries(session: Session, wanted: EntryFilter, limit: int) -> list[AuditEntry]:
    """The latest ``limit`` of these entries, newest first."""
    statement = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    given = {
        AuditEntry.who: wanted.who,
        AuditEntry.what: wanted.what,
        AuditEntry.case_id: wanted.case_id,
        AuditEntry.image_id: wanted.image_id,
    }
    for column, value in given.items():
        if value is not None:
            statement = statement.where(column == value)
    if wanted.before is not None:
        statement = statement.where(AuditEntry.id < wanted.before)
    if wanted.since is not None:
        statement = statement.where(AuditEntry.created_at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(AuditEntry.created_at < wanted.until)
    return list(session.scalars(statement))


def all_entries(session: Session, wanted: EntryFilter) -> Iterator[AuditEntry]:
    """All these entries, newest first, a thousand at a time."""
    while found := find_entries(session, wanted, _AT_ONCE):
        yield from found
        wanted = replace(wanted, before=found[-1].id)


def known_actions(session: Session) -> list[str]:
    """Every action in the log, sorted."""
    return _distinct(session, AuditEntry.what)


def known_people(session: Session) -> list[str]:
    """Everybody in the log, sorted; the first 200 of them."""
    return _distinct(session, AuditEntry.who)


def _distinct(session: Session, column: InstrumentedAttribute[str]) -> list[str]:
    """The values of an indexed column, each found by the index as the next one after the last: the log is long."""
    first = select(func.min(column).label("value")).cte("known", recursive=True)
    following = aliased(AuditEntry)
    name = getattr(following, column.key)
    after = select(func.min(name)).where(name > first.c.value).correlate(first).scalar_subquery()
    known = first.union_all(select(after).where(first.c.value.is_not(None)))
    return list(session.scalars(select(known.c.value).where(known.c.value.is_not(None)).limit(_MOST_VALUES)))


def has_seen_photo(session: Session, who: str, case_id: int) -> bool:
    """Whether a photo of this case has been on this person's screen."""
    return _has(session, AuditEntry.who == who, AuditEntry.what == "saw_photo", AuditEntry.case_id == case_id)


def has_seen_image(session: Session, who: str, image_id: str) -> bool:
    """Whether this photo has been on this person's screen."""
    return _has(session, AuditEntry.who == who, AuditEntry.what == "saw_photo", AuditEntry.image_id == image_id)


def _has(session: Session, *which: ColumnElement[bool]) -> bool:
    return session.scalar(select(AuditEntry.id).where(*which).limit(1)) is not None
