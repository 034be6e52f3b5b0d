"""Webhook deliveries: an outbox of what happens to cases and images, which workers send to the platform.

The transaction that changes a case or an image writes it, by a trigger or by `add_scored`. Only kinds of events that
the platform chose are written.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, literal, select, update
from sqlalchemy.exc import DBAPIError, NoResultFound
from sqlalchemy.orm import Session

from db.errors import NotFoundError
from db.schema import Case, Delivery, Flag, Image, WebhookSwitch
from db.schema.clock import moment
from db.schema.soundness import MAX_COUNT
from db.store.dialect import insert
from db.store.session import is_transient

log = logging.getLogger(__name__)

#: No pause is as long: what is due later is never due.
_NEVER_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class ChangedCase:
    """The case of an event: its version at the event, and its flagged photos now."""

    case_id: int
    version: int
    account_id: str
    policy: str
    image_ids: list[str]


@dataclass(frozen=True, slots=True)
class LeasedDelivery:
    """A leased delivery: what happened to which case or image. ``attempts`` includes this one."""

    id: int
    kind: str
    at: datetime
    attempts: int
    case: ChangedCase | None = None
    image_id: str | None = None


def switch_on(session: Session, kinds: Collection[str]) -> None:
    """Record deliveries of these kinds, and of no others, from now on; raises `DatabaseError` without the right to."""
    if "image.scored" in kinds:
        add_scored(session, [])  # a login that may not is refused here, and not with each batch of scores
    on = set(session.scalars(select(WebhookSwitch.name)))
    if new := sorted(set(kinds) - on):
        rows = [{"name": name} for name in new]
        session.execute(insert(session, WebhookSwitch).values(rows).on_conflict_do_nothing())
    if on - set(kinds):
        session.execute(delete(WebhookSwitch).where(WebhookSwitch.name.not_in(kinds)))


def switch_off(session: Session) -> None:
    """Record no more deliveries; workers that know the URL still send those that are pending."""
    session.execute(delete(WebhookSwitch))


def recorded_kinds(session: Session) -> list[str]:
    """The kinds of events that are recorded for delivery."""
    return list(session.scalars(select(WebhookSwitch.name).order_by(WebhookSwitch.name)))


def add_scored(session: Session, image_ids: Collection[str]) -> None:
    """Record that images are about to have their first score; call it before they are marked as scored.

    An image that was scored before keeps its digest, even where a rollback has it scored again.
    """
    unscored = select(Image.id, literal("scored")).where(
        Image.id.in_(image_ids), Image.state != "scored", Image.sha256.is_(None), Image.account_id.is_not(None)
    )
    session.execute(insert(session, Delivery).from_select(["image_id", "event"], unscored.order_by(Image.id)))


def lease_deliveries(session: Session, hold_s: float, limit: int) -> list[LeasedDelivery]:
    """Lease due deliveries for ``hold_s``, after which they are due again; none only when none is due.

    Deliveries of an account that was erased meanwhile become "erased" and are not sent. One whose row is odd is given
    up, and the others are leased.
    """
    _give_up_never_due(session)
    due = (
        select(Delivery.id)
        .where(Delivery.state == "pending", Delivery.next_attempt_at <= moment())
        .order_by(Delivery.next_attempt_at, Delivery.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found: list[LeasedDelivery] = []
    while not found and (ids := session.scalars(due).all()):
        found = _lease_sound(session, ids, hold_s)
    return found


def mark_delivered(session: Session, delivery_id: int) -> None:
    """Mark a delivery done: the platform accepted it."""
    _change(session, delivery_id, state="done", reason=None)


def mark_failed(session: Session, delivery_id: int, reason: str, retry_s: float | None) -> None:
    """Record why a delivery failed: for another attempt after ``retry_s``, or it is dead."""
    state = "dead" if retry_s is None else "pending"
    _change(session, delivery_id, state=state, reason=reason, next_attempt_at=moment(retry_s or 0.0))


def list_deliveries(session: Session, state: str | None, limit: int) -> list[Delivery]:
    """Deliveries in one state, or all; the latest first."""
    statement = select(Delivery).order_by(Delivery.id.desc()).limit(limit)
    return list(session.scalars(statement if state is None else statement.where(Delivery.state == state)))


def count_undelivered(session: Session) -> tuple[int, int]:
    """How many deliveries are pending, and how many were given up: each counted in its own small index."""
    pending, dead = (select(func.count(Delivery.id)).where(Delivery.state == state) for state in ("pending", "dead"))
    return session.scalar(pending) or 0, session.scalar(dead) or 0


def redeliver(session: Session, ids: Collection[int]) -> None:
    """Send deliveries again, done or dead ones; raises `NotFoundError` naming the first that cannot be sent."""
    again = update(Delivery).where(Delivery.id.in_(ids), Delivery.state != "erased")
    again = again.values(state="pending", attempts=0, next_attempt_at=moment(), changed_at=moment())
    found = session.scalars(again.returning(Delivery.id).execution_options(synchronize_session=False)).all()
    missing = sorted(set(ids) - set(found))
    if missing:
        raise NotFoundError(f"delivery {missing[0]} is not in the record, or its account was erased")


def list_dead(session: Session) -> list[int]:
    """Ids of the deliveries that were given up."""
    return list(session.scalars(select(Delivery.id).where(Delivery.state == "dead").order_by(Delivery.id)))


def _lease_sound(session: Session, ids: Sequence[int], hold_s: float) -> list[LeasedDelivery]:
    """Lease them together; where one's row is odd, each by itself, and the odd one is given up."""
    try:
        with session.begin_nested():
            return _lease_together(session, ids, hold_s)
    except DBAPIError as error:
        if is_transient(error):
            raise
        why = type(error.orig).__name__
    except (NoResultFound, TypeError, ValueError) as error:
        why = type(error).__name__
    if len(ids) == 1:
        log.warning("webhook %d is given up: its row is odd (%s)", ids[0], why)
        mark_failed(session, ids[0], f"odd row: {why}", None)
        return []
    return [leased for one in ids for leased in _lease_sound(session, [one], hold_s)]


def _lease_together(session: Session, ids: Sequence[int], hold_s: float) -> list[LeasedDelivery]:
    statement = select(Delivery).where(Delivery.id.in_(ids)).order_by(Delivery.next_attempt_at, Delivery.id)
    rows = session.scalars(statement).all()
    known = _with_account(session, [row.image_id for row in rows if row.image_id is not None])
    return [leased for row in rows if (leased := _lease(session, row, known, hold_s))]


def _lease(session: Session, row: Delivery, known: Collection[str], hold_s: float) -> LeasedDelivery | None:
    """Lease one of them, or mark it erased; ``known``: the images whose account is not erased.

    Raises an error that names no value where the row is odd.
    """
    case = None if row.case_id is None else _changed_case(session, row.case_id, row.version or 0)
    if case is None and row.image_id not in known:
        row.state, row.changed_at = "erased", moment()
        return None
    if not 0 <= row.attempts < MAX_COUNT:  # pauses grow with it
        raise ValueError("attempts")
    row.attempts, row.next_attempt_at = row.attempts + 1, moment(hold_s)
    return LeasedDelivery(row.id, row.kind, row.created_at, row.attempts, case, row.image_id)


def _give_up_never_due(session: Session) -> None:
    never = update(Delivery).where(Delivery.state == "pending", Delivery.next_attempt_at > moment(_NEVER_S))
    dead = {"state": "dead", "reason": "odd row: never due", "next_attempt_at": moment(), "changed_at": moment()}
    session.execute(never.values(dead).execution_options(synchronize_session=False))


def _changed_case(session: Session, case_id: int, version: int) -> ChangedCase | None:
    case = session.get_one(Case, case_id)
    if case.account_id is None:
        return None
    images = select(Flag.image_id).where(Flag.case_id == case_id).distinct().order_by(Flag.image_id)
    return ChangedCase(case_id, version, case.account_id, case.policy, list(session.scalars(images)))


def _with_account(session: Session, image_ids: Collection[str]) -> set[str]:
    if not image_ids:
        return set()
    return set(session.scalars(select(Image.id).where(Image.id.in_(image_ids), Image.account_id.is_not(None))))


def _change(session: Session, delivery_id: int, **change: object) -> None:
    statement = update(Delivery).where(Delivery.id == delivery_id, Delivery.state == "pending")
    session.execute(statement.values(change | {"changed_at": moment()}).execution_options(synchronize_session=False))
