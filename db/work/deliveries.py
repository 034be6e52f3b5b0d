"""What the platform is to be told of cases: an outbox, filled where cases change, and emptied by workers.

A trigger on cases writes it, in the transaction that opens or closes one, whoever does; while nobody wants to be told
it writes nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.errors import NotFoundError
from db.store.insert import insert
from db.schema import Case, Delivery, Flag, WebhookSwitch

_ON = "on"


@dataclass(frozen=True, slots=True)
class Message:
    """A delivery in hand: what happened to which case, and how often it was tried, this time included."""

    id: int
    event: str
    at: datetime
    case_id: int
    version: int
    account_id: str
    policy: str
    image_ids: list[str]
    attempts: int


def switch_on(session: Session) -> None:
    """From now on tell what becomes of cases."""
    session.execute(insert(session, WebhookSwitch).values(name=_ON).on_conflict_do_nothing())


def switch_off(session: Session) -> None:
    """No more; what waits is still told by workers that know where."""
    session.execute(delete(WebhookSwitch))


def switched_on(session: Session) -> bool:
    """Whether changes of cases are written down for the platform."""
    return session.scalar(select(WebhookSwitch.name)) is not None


def take(session: Session, hold_s: float) -> Message | None:
    """The next that is due, in hand for ``hold_s``: after that it is due again. None when there is none.

    What was to be told of an account that was erased meanwhile is not told any more.
    """
    due = (
        select(Delivery)
        .where(Delivery.state == "pending", Delivery.next_attempt_at <= moment())
        .order_by(Delivery.next_attempt_at, Delivery.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    while (row := session.scalar(due)) is not None:
        case = session.get_one(Case, row.case_id)
        if case.account_id is not None:
            row.attempts, row.next_attempt_at = row.attempts + 1, moment(hold_s)
            session.flush()
            return _message(session, row, case, case.account_id)
        row.state, row.changed_at = "erased", moment()
        session.flush()
    return None


def done(session: Session, delivery_id: int) -> None:
    """It was told."""
    _change(session, delivery_id, state="done", reason=None)


def failed(session: Session, delivery_id: int, reason: str, retry_s: float | None) -> None:
    """It could not be told: for another attempt after ``retry_s``, or it is dead."""
    state = "dead" if retry_s is None else "pending"
    _change(session, delivery_id, state=state, reason=reason, next_attempt_at=moment(retry_s or 0.0))


def list_deliveries(session: Session, state: str | None, limit: int) -> list[Delivery]:
    """The latest first."""
    statement = select(Delivery).order_by(Delivery.id.desc()).limit(limit)
    return list(session.scalars(statement if state is None else statement.where(Delivery.state == state)))


def counts(session: Session) -> dict[str, int]:
    """How many there are of each state."""
    return dict(session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all())


def replay(session: Session, ids: Collection[int]) -> None:
    """Tell again what was told, or is dead. Raises `NotFoundError` naming the first that cannot be told."""
    again = update(Delivery).where(Delivery.id.in_(ids), Delivery.state != "erased")
    again = again.values(state="pending", attempts=0, next_attempt_at=moment(), changed_at=moment())
    found = session.scalars(again.returning(Delivery.id).execution_options(synchronize_session=False)).all()
    missing = sorted(set(ids) - set(found))
    if missing:
        raise NotFoundError(f"delivery {missing[0]} is not in the record, or its account was erased")


def dead(session: Session) -> list[int]:
    """Ids of those that were given up."""
    return list(session.scalars(select(Delivery.id).where(Delivery.state == "dead").order_by(Delivery.id)))


def _message(session: Session, row: Delivery, case: Case, account_id: str) -> Message:
    images = select(Flag.image_id).where(Flag.case_id == case.id).distinct().order_by(Flag.image_id)
    return Message(
        id=row.id,
        event=row.event,
        at=row.created_at,
        case_id=case.id,
        version=row.version,
        account_id=account_id,
        policy=case.policy,
        image_ids=list(session.scalars(images)),
        attempts=row.attempts,
    )


def _change(session: Session, delivery_id: int, **change: object) -> None:
    statement = update(Delivery).where(Delivery.id == delivery_id, Delivery.state == "pending")
    session.execute(statement.values(change | {"changed_at": moment()}).execution_options(synchronize_session=False))
