"""Odd rows: pending images that nobody can work on, such as one without readable text or whose time is no time.

The database refuses most of them. The rest fail here, each alone and with its reason. No large value of theirs is read.
"""

import logging
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, String, cast, literal_column, or_, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.schema import LANES, Image, Policy
from db.schema.clock import moment
from db.schema.images import IMAGE_STATES
from db.schema.soundness import COUNTS, TEXT_LIMITS, TIMES, postgresql_conditions
from db.store import sqlite_rows
from db.store.session import is_transient

log = logging.getLogger(__name__)

REASON = "odd_row"
#: A time so far ahead was not meant; on SQLite, whatever is no time compares as later still.
_FAR_S = 10 * 366 * 86_400.0
_SAID = {
    **{name: f"its {name} is no text of 1 to {limit} plain characters" for name, limit in TEXT_LIMITS.items()},
    **{name: f"its {name} is no time" for name in TIMES},
    **{name: f"its {name} is no number, or too large" for name in COUNTS},
    "counts": f"one of its {', '.join(COUNTS)} is no number, or too large",
    "lane": f"its lane is none of {', '.join(LANES)}",
}


@dataclass(frozen=True, slots=True)
class OddImage:
    """An image that failed: the id under which it can be found now, and what is odd about it."""

    id: str
    detail: str


def is_far(time: SQLColumnExpression[Any]) -> ColumnElement[bool]:
    """Whether a time is so far ahead, or is no time, that nobody waits for it."""
    return time > moment(_FAR_S)


def row_place(session: Session) -> ColumnElement[str]:
    """Where a row is, for another statement of this transaction: its id may be what is odd."""
    return cast(literal_column("images.rowid" if _on_sqlite(session) else "images.ctid"), String)


def fail_odd(session: Session, places: Sequence[str], why: str = "") -> list[OddImage]:
    """Fail the rows at these places; ``why``: what is odd about them, beside what can be seen of each."""
    return [odd for place in places if (odd := _fail(session, place, why)) is not None]


def fail_never_due(session: Session, limit: int) -> list[OddImage]:
    """Fail pending images that would never be due: their next attempt is at ``infinity``, or is no time."""
    never = select(row_place(session)).where(Image.state == "pending", is_far(Image.next_attempt_at)).limit(limit)
    places = session.scalars(never.with_for_update(skip_locked=True)).all()
    return fail_odd(session, places, "its next_attempt_at is no time, or more than 10 years ahead")


def fail_never_sent(session: Session, limit: int) -> list[OddImage]:
    """Fail images of a policy, lane or state that does not exist. It looks at all that are pending: do it rarely."""
    unknown = or_(Image.lane.not_in(LANES), Image.policy.not_in(select(Policy.name)))
    conditions: list[ColumnElement[bool]] = [(Image.state == "pending") & unknown]
    if _on_sqlite(session):  # only there can a row have another state
        conditions.append(Image.state.not_in(IMAGE_STATES))
    statements = [select(row_place(session)).where(each).limit(limit) for each in conditions]
    places = [place for each in statements for place in session.scalars(each.with_for_update(skip_locked=True))]
    return fail_odd(session, places, "its policy, lane or state is unknown")


def _fail(session: Session, place: str, why: str) -> OddImage | None:
    """Fail one row; None when the database refuses even that."""
    faults = _faults(session, place)
    detail = "; ".join(dict.fromkeys([*(_SAID[name] for name in faults), *([why] if why else [])]))
    for repaired in _repairs(session, place, faults):
        try:
            with session.begin_nested():
                return _change(session, place, {**repaired, "detail": detail})
        except DBAPIError as error:
            if is_transient(error):
                raise
            log.warning("an odd row cannot be failed (%s): %s", detail, str(error.orig).strip().splitlines()[0])
    return None


def _change(session: Session, place: str, values: Mapping[str, Any]) -> OddImage | None:
    statement = (
        update(Image)
        .where(row_place(session) == place)
        .values(state="failed", reason=REASON, lease_owner=None, lease_until=None, next_attempt_at=moment())
        .values(changed_at=moment(), **values)
        .returning(Image.id)
        .execution_options(synchronize_session=False)
    )
    found = session.scalar(statement)
    return None if found is None else OddImage(found, str(values["detail"]))


def _faults(session: Session, place: str) -> list[str]:
    if _on_sqlite(session):
        return sqlite_rows.faults(_driver(session), int(place))
    conditions = postgresql_conditions("images.")
    columns: list[ColumnElement[bool]] = [
        literal_column(f"({ok}) IS NOT TRUE").label(name) for name, ok in conditions.items()
    ]
    found = session.execute(select(*columns).select_from(Image).where(row_place(session) == place)).mappings().one()
    return [name for name, is_odd in found.items() if is_odd]


def _repairs(session: Session, place: str, faults: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What replaces odd values; first with another id, which the database refuses where something refers to the row."""
    changes: dict[str, Any] = dict.fromkeys(COUNTS, 0) if set(faults) & {*COUNTS, "counts"} else {}
    if not _on_sqlite(session):  # a worker may not change the rest there, nor need it
        yield changes
        return
    driver, rowid = _driver(session), int(place)
    changes |= {"created_at": moment()} if "created_at" in faults else {}
    changes |= {"policy": "default"} if "policy" in faults else {}
    changes |= {"lane": LANES[0]} if "lane" in faults else {}
    shown = {name: sqlite_rows.described(driver, name, rowid) for name in ("account_id", "url") if name in faults}
    changes |= shown
    if not sqlite_rows.can_be_named(driver, rowid):
        yield changes | {"id": f"odd-{uuid.uuid4().hex}"}
    yield changes


def _on_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _driver(session: Session) -> sqlite3.Connection:
    driver: sqlite3.Connection = session.connection().connection.driver_connection  # type: ignore[assignment]  # on SQLite
    return driver
