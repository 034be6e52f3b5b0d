"""Everybody's times are the database's, with a zone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import insert, literal, select, text
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from db.schema import Image
from db.schema.clock import UtcDateTime, moment, now
from db.work import outbox
from db.work.outbox import Lane, ResendBackoff

TIMES = [
    datetime(2026, 3, 1, 12, 30, 45, 123456, tzinfo=UTC),
    datetime(2026, 3, 1, 12, 30, 45, tzinfo=UTC),
    datetime(2026, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=2))),
    datetime(1970, 1, 1, tzinfo=UTC),
]
pytestmark = pytest.mark.both  # databases can differ here


@pytest.mark.parametrize("time", TIMES, ids=str)
def test_a_time_comes_back_as_it_was_stored_in_utc(session: Session, time: datetime) -> None:
    session.execute(insert(Image).values(id="a", created_at=time))
    (found,) = session.scalars(select(Image.created_at).where(Image.id == "a"))
    assert found == time
    assert found.tzinfo is UTC


def test_no_time_comes_back_as_none(session: Session) -> None:
    session.execute(insert(Image).values(id="a", lease_until=None))
    assert session.scalars(select(Image.lease_until)).all() == [None]


def test_a_time_without_a_zone_is_refused_rather_than_guessed(session: Session) -> None:
    with pytest.raises(StatementError, match="has no zone"):
        session.execute(select(literal(datetime(2026, 3, 1), UtcDateTime())))  # noqa: DTZ001 - that is the point


def test_the_databases_time_and_a_columns_default_are_now(session: Session) -> None:
    for clock in (moment(), now()):
        found = session.scalars(select(clock)).one()
        assert abs(found - datetime.now(UTC)) < timedelta(seconds=5)


@pytest.mark.parametrize("seconds", [0.0, 0.25, 90.0, -90.0, 3600.0, 86400.0 * 30])
def test_a_moment_lies_so_many_seconds_from_now(session: Session, seconds: float) -> None:
    before, then = session.execute(select(moment(), moment(seconds))).one()
    assert (then - before).total_seconds() == pytest.approx(seconds, abs=0.1)


def test_stored_times_compare_with_the_databases_own(session: Session) -> None:
    session.execute(insert(Image).values(id="past", created_at=datetime.now(UTC) - timedelta(seconds=10)))
    session.execute(insert(Image).values(id="future", created_at=datetime.now(UTC) + timedelta(seconds=10)))
    assert session.scalars(select(Image.id).where(Image.created_at < moment())).all() == ["past"]


@pytest.mark.parametrize("migrated", ["postgresql"], indirect=True)
def test_postgresql_can_search_an_index_by_the_databases_time(
    session: Session, statements: Callable[[Session], list[tuple[str, Any]]]
) -> None:
    """A clock that may tick between rows (``clock_timestamp``) makes it read the whole index, each second."""
    session.execute(text("SET LOCAL enable_seqscan = off"))
    session.execute(text("SET LOCAL enable_bitmapscan = off"))
    asked = statements(session)
    outbox.take_due_images(session, Lane.UPLOAD, 10, ResendBackoff(60, 60))
    statement, parameters = next(each for each in asked if "next_attempt_at <=" in each[0])
    plan = session.connection().exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars().all()
    assert any("Index Cond: " in line and "(next_attempt_at <= " in line for line in plan), "\n".join(plan)


def test_the_smallest_and_largest_pauses_are_times_too(session: Session) -> None:
    """SQLite reads seconds from text, where 0.00001 could be written 1e-05."""
    for seconds in (0.00001, 1e8):
        assert session.scalars(select(moment(seconds))).one() is not None
