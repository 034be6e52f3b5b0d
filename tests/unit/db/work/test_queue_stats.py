"""What an operator watches is counted as it is: what waits, what is in hand, which cases wait for people."""

import pytest
from sqlalchemy import text, update

from db.schema import Case, Image, Review
from db.schema.clock import moment
from db.store.session import Database
from db.work import images, queue_stats
from db.work.images import Failure, NewImage
from db.work.queue_stats import PendingImages


def put(database: Database, *ids: str) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage(i, "acc", f"{i}.jpg") for i in ids], 60)


def age(database: Database, image_id: str, seconds: float) -> None:
    with database.writing() as session:
        session.execute(update(Image).where(Image.id == image_id).values(created_at=moment(-seconds)))


def test_an_empty_record_has_nothing_that_waits(database: Database) -> None:
    with database.reading() as session:
        found = queue_stats.read_queue_stats(session)
    assert found.pending == PendingImages(pending=0, leased=0, pausing=0, oldest_s=0, lag_s=0)
    assert (found.open_cases, found.case_events) == ({}, {"opened": 0, "withdrawn": 0})


def test_what_waits_is_counted_with_its_age_and_what_is_done_is_not(database: Database) -> None:
    put(database, "old", "young", "held", "done")
    age(database, "old", 100)
    age(database, "done", 1000)
    with database.writing() as session:
        images.lease(session, ["held", "done"], "me", 60)
        images.record_failures(session, [Failure("done", "truncated", "")], "me")
    with database.reading() as session:
        found = queue_stats.count_pending(session)
    assert (found.pending, found.leased) == (3, 1)
    assert found.oldest_s == pytest.approx(100, abs=20)


def test_each_lane_has_its_own_age_and_a_backfill_makes_no_upload_old(database: Database) -> None:
    put(database, "live")
    with database.writing() as session:
        images.add_images(session, [NewImage("import", "acc", "a.jpg", lane="backfill")], 60)
    age(database, "import", 1000)
    with database.reading() as session:
        found = queue_stats.count_lanes(session)
    assert {lane: one.count for lane, one in found.items()} == {"upload": 1, "backfill": 1}
    assert found["upload"].oldest_s < 100
    assert found["backfill"].oldest_s == pytest.approx(1000, abs=20)


def test_what_is_tried_again_is_counted_while_it_pauses_and_makes_nothing_old(database: Database) -> None:
    put(database, "young", "stubborn")
    age(database, "stubborn", 1000)
    with database.writing() as session:
        images.lease(session, ["stubborn"], "me", 60)
        images.record_failures(session, [Failure("stubborn", "timeout", "", 60)], "me")
    with database.reading() as session:
        found = queue_stats.count_pending(session)
    assert (found.pending, found.leased, found.pausing) == (2, 0, 1)
    assert found.oldest_s < 100
    with database.writing() as session:
        session.execute(update(Image).values(lease_until=moment(-1)))
    with database.reading() as session:
        found = queue_stats.count_pending(session)
    assert found.pausing == 0
    assert found.oldest_s < 100


def test_the_lag_is_that_of_what_is_due_and_not_of_what_is_in_hand_or_pauses(database: Database) -> None:
    put(database, "due", "held", "later")
    with database.writing() as session:
        session.execute(update(Image).where(Image.id != "later").values(next_attempt_at=moment(-50)))
        images.lease(session, ["held"], "me", 60)
        session.execute(update(Image).where(Image.id == "held").values(next_attempt_at=moment(-500)))
    with database.reading() as session:
        assert queue_stats.count_pending(session).lag_s == pytest.approx(50, abs=20)


def test_cases_are_counted_by_policy_with_the_age_of_the_oldest_and_decisions_by_kind(database: Database) -> None:
    rows = (("a", "default", "open", 100), ("b", "default", "open", 10), ("c", "vip", "withdrawn", 1000))
    with database.writing() as session:
        for account, policy, state, seconds in rows:
            session.add(Case(account_id=account, policy=policy, state=state, created_at=moment(-seconds)))
        session.flush()
        first = session.scalar(text("SELECT min(id) FROM cases"))
        for decision in ("dismissed", "undone", "confirmed"):
            session.add(Review(case_id=first, reviewer="ada", decision=decision, blind=False))
    with database.reading() as session:
        found = queue_stats.read_queue_stats(session)
    assert set(found.open_cases) == {"default"}
    assert found.open_cases["default"].count == 2
    assert found.open_cases["default"].oldest_s == pytest.approx(100, abs=20)
    assert found.case_events == {"opened": 3, "withdrawn": 1, "dismissed": 1, "undone": 1, "confirmed": 1}
