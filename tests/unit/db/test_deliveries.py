"""What becomes of cases is written down to be told, in the transaction that does it, where somebody listens."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import select, update

from db.privacy import accounts
from db.review import reviews
from db.work import deliveries
from db.policy.changes import Budget
from db.schema.clock import moment
from db.work.deliveries import Message
from db.errors import NotFoundError
from db.policy.policies import set_threshold
from db.schema import Case, Delivery, Review
from db.store.session import Database
from db.policy.signature import Signature
from db.policy.thresholds import Choice

OpenCase = Callable[..., int]
Decide = Callable[..., Review]


@pytest.fixture
def listening(database: Database) -> Database:
    with database.writing() as session:
        deliveries.switch_on(session)
    return database


def told(database: Database) -> list[tuple[int, str, str]]:
    with database.reading() as session:
        rows = session.scalars(select(Delivery).order_by(Delivery.id))
        return [(row.case_id, row.event, row.state) for row in rows]


def take(database: Database, hold_s: float = 60) -> Message | None:
    with database.writing() as session:
        return deliveries.take(session, hold_s)


def test_where_nobody_listens_nothing_is_written(database: Database, open_case: OpenCase, decide: Decide) -> None:
    decide(open_case(), "ada")
    assert told(database) == []


def test_a_case_is_told_of_when_it_opens_and_at_each_turn(
    listening: Database, open_case: OpenCase, decide: Decide
) -> None:
    case_id = open_case()
    open_case(photo=2)  # the same case: no news
    decide(case_id, "ada", "unsure")
    decide(case_id, "bob", "confirmed")
    with listening.writing() as session:
        reviews.appeal(session, case_id, session.get_one(Case, case_id).version, "lee", "look again")
    decide(case_id, "cy", "dismissed")
    assert [event for _, event, _ in told(listening)] == ["opened", "confirmed", "reopened", "dismissed"]
    with listening.reading() as session:
        versions = session.scalars(select(Delivery.version).order_by(Delivery.id)).all()
    assert versions == sorted(set(versions))


def test_a_threshold_opens_and_withdraws_and_both_are_told(
    listening: Database, add_images: Callable[..., Any], record: Callable[..., Any], version_id: int
) -> None:
    add_images("a")
    record({"a": 0.7})
    for value in (0.5, 0.9):
        with listening.writing() as session:
            set_threshold(session, version_id, "default", Choice(value), Signature("pat", "x"), Budget(10))
    assert [event for _, event, _ in told(listening)] == ["opened", "withdrawn"]


def test_what_is_rolled_back_is_not_told(listening: Database, open_case: OpenCase) -> None:
    case_id = open_case()
    with listening.writing() as session:
        session.get_one(Case, case_id).state = "confirmed"
        session.flush()
        session.rollback()
    assert [event for _, event, _ in told(listening)] == ["opened"]


def test_a_message_says_what_happened_and_is_in_hand(listening: Database, open_case: OpenCase) -> None:
    case_id = open_case()
    message = take(listening)
    assert message is not None
    assert (message.event, message.case_id, message.attempts) == ("opened", case_id, 1)
    assert (message.account_id, message.policy, message.image_ids) == ("account", "default", ["account-1"])
    assert take(listening) is None
    with listening.writing() as session:
        session.execute(update(Delivery).values(next_attempt_at=moment(-1)))
    again = take(listening)
    assert again is not None
    assert (again.id, again.attempts) == (message.id, 2)


def test_two_who_take_at_once_take_one_each(
    listening: Database, open_case: OpenCase, at_once: Callable[[Sequence[Callable[[], Any]]], list[Any]]
) -> None:
    for account in ("a", "b"):
        open_case(account)
    found = at_once([lambda: take(listening), lambda: take(listening)])
    assert len({message.id for message in found}) == 2


def test_failures_wait_or_are_dead_and_are_told_again_when_asked(listening: Database, open_case: OpenCase) -> None:
    case_id = open_case()
    message = take(listening)
    assert message is not None
    with listening.writing() as session:
        deliveries.failed(session, message.id, "HTTP 500", 3600)
    assert (take(listening), told(listening)) == (None, [(case_id, "opened", "pending")])
    with listening.writing() as session:
        deliveries.failed(session, message.id, "HTTP 500", None)
        assert deliveries.dead(session) == [message.id]
        assert deliveries.counts(session) == {"dead": 1}
        deliveries.replay(session, [message.id])
    again = take(listening)
    assert again is not None
    assert again.attempts == 1
    with listening.writing() as session:
        deliveries.done(session, message.id)
    assert told(listening) == [(case_id, "opened", "done")]


def test_an_account_that_was_erased_is_not_told_of_any_more(listening: Database, open_case: OpenCase) -> None:
    open_case()
    accounts.forget(listening, "account")
    assert take(listening) is None
    assert [state for _, _, state in told(listening)] == ["erased"]
    with listening.reading() as session:
        (erased,) = session.scalars(select(Delivery.id)).all()
    with (
        pytest.raises(NotFoundError, match=f"delivery {erased} .* its account was erased"),
        listening.writing() as session,
    ):
        deliveries.replay(session, [erased])


def test_switched_off_nothing_more_is_written(listening: Database, open_case: OpenCase) -> None:
    with listening.writing() as session:
        assert deliveries.switched_on(session)
        deliveries.switch_off(session)
    open_case()
    assert told(listening) == []
