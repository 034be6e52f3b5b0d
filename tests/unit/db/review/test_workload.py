"""What leads see of the work: by day, by person, and how old what waits is."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import update

from db.review import reviews, workload
from db.schema import Case
from db.schema.clock import moment
from db.store.session import Database

Act = Callable[..., Any]


def test_days_and_hands_count_decisions_by_kind_and_what_was_undone(
    database: Database, open_case: Act, decide: Act
) -> None:
    first, second, third = (open_case(account) for account in ("a", "b", "c"))
    decide(first, "ada", "confirmed")
    decide(second, "ada", "dismissed")
    decide(third, "bea", "unsure")
    with database.writing() as session:
        version = session.get_one(Case, second).version
        reviews.undo_decision(session, second, version, "ada")
    with database.reading() as session:
        days, hands = workload.decisions_by_day(session, 3), workload.decisions_by_reviewer(session, 3)
    today = datetime.now(UTC).date()
    assert [day.day for day in days] == [today - timedelta(days=2), today - timedelta(days=1), today]
    assert [day.total for day in days] == [0, 0, 3]
    assert days[2].decided == {"confirmed": 1, "dismissed": 1, "unsure": 1}
    assert [(hand.reviewer, hand.decided, hand.undone) for hand in hands] == [
        ("ada", {"confirmed": 1, "dismissed": 1, "unsure": 0}, 1),
        ("bea", {"confirmed": 0, "dismissed": 0, "unsure": 1}, 0),
    ]


def test_without_a_decision_every_day_is_there_and_nobody(database: Database) -> None:
    with database.reading() as session:
        days, hands = workload.decisions_by_day(session, 28), workload.decisions_by_reviewer(session, 7)
    assert (len(days), {day.total for day in days}, hands) == (28, {0}, [])
    assert isinstance(days[0].day, date)


def test_open_cases_are_counted_by_age(database: Database, open_case: Act, decide: Act) -> None:
    for number, hours in enumerate((0, 2, 2, 25, 24 * 8, 24 * 30)):
        case_id = open_case(f"account {number}")
        with database.writing() as session:
            session.execute(update(Case).where(Case.id == case_id).values(created_at=moment(-3600 * hours)))
    decide(open_case("decided"), "ada")
    with database.reading() as session:
        assert workload.open_cases_by_age(session) == {"under 1 h": 1, "under 1 d": 2, "under 7 d": 1, "older": 2}
