"""A pending row that nobody can work on fails alone, with a reason, and without its text being read."""

import tracemalloc
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import select, text

from db.schema import Image
from db.store.session import Database
from db.work import failures, images, odd_rows, outbox
from db.work.outbox import Lane, ResendBackoff
from tests.odd_rows import change_unchecked, every_kind, sql

pytestmark = [pytest.mark.both, pytest.mark.slow]  # what a database holds differs, and each test changes its schema

AddImages = Callable[..., list[str]]
BACKOFF = ResendBackoff(60, 60)


@pytest.fixture
def database(fresh_database: Database) -> Database:
    """Its own: these tests change the schema."""
    return fresh_database


@pytest.fixture
def unchecked(database: Database) -> Callable[[str, str], None]:
    """``unchecked(id, change)`` changes a row behind the back of every constraint."""
    return partial(change_unchecked, database)


def take(database: Database) -> outbox.Taken:
    taken = outbox.Taken()
    with database.writing() as session:
        for lane in Lane:
            taken.add(outbox.take_due_images(session, lane, 100, BACKOFF))
        taken.odd += odd_rows.fail_never_due(session, 10) + odd_rows.fail_never_sent(session, 10)
    return taken


@every_kind
def test_an_odd_row_fails_alone_with_its_reason_and_its_neighbours_are_sent(
    database: Database,
    add_images: AddImages,
    unchecked: Callable[[str, str], None],
    change: str,
    said: str,
    only: str | None,
) -> None:
    if only not in (None, database.url.get_backend_name()):
        pytest.skip(f"only on {only}")
    add_images("a", "odd", "z")
    unchecked("odd", sql(database, change))
    taken = take(database)
    assert sorted(taken.ids) == ["a", "z"]
    (odd,) = taken.odd
    assert said in odd.detail or said.rstrip("s") in odd.detail
    with database.writing() as session:
        assert images.count_images(session) == {"pending": 2, "scored": 0, "unusable": 0, "failed": 1}
        (row,) = failures.list_failures(session, 10)
        assert (row.reason, row.lease_owner) == ("odd_row", None)
        assert len(f"{row.id}{row.account_id}{row.url}{row.detail}") < 1000
        assert failures.requeue(session) in ([], [row.id])  # whichever: it is no error
        assert {job.image_id for job in images.lease(session, ["a", "z"], "me", 60)} == {"a", "z"}


def test_a_huge_value_is_never_read_into_memory(
    database: Database, add_images: AddImages, unchecked: Callable[[str, str], None]
) -> None:
    add_images("a", "odd")
    size = "repeat('x', 20000000)" if database.url.get_backend_name() == "postgresql" else "hex(zeroblob(10000000))"
    unchecked("odd", f"url = {size}")
    tracemalloc.start()
    try:
        with database.reading() as session:
            assert "bytes of text" in (session.get_one(Image, "odd").url or "")
            assert len(session.scalars(select(Image.url)).all()) == 2
        with database.writing() as session:
            assert images.lease(session, ["odd"], "me", 60) == []
        assert take(database).ids == ["a"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_a_time_that_python_cannot_hold_breaks_no_listing(
    database: Database, add_images: AddImages, unchecked: Callable[[str, str], None]
) -> None:
    add_images("a", "odd")
    value = "'infinity'" if database.url.get_backend_name() == "postgresql" else "'whenever'"
    unchecked("odd", f"created_at = {value}, changed_at = {value}, state = 'failed', reason = 'timeout'")
    with database.reading() as session:
        assert [row.id for row in failures.list_failures(session, 10)] == ["odd"]
        assert images.oldest_pending(session) is not None
        assert session.scalar(text("SELECT count(*) FROM images")) == 2
