"""What is due is sent the oldest first, by one sweeper, less and less often; what loses worker after worker is not."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from db.schema import Image
from db.schema.clock import moment
from db.store.session import Database
from db.work import images, outbox
from db.work.images import NewImage
from db.work.outbox import Lane, ResendBackoff

AddImages = Callable[..., list[str]]
ImageOf = Callable[[str], Image]
pytestmark = pytest.mark.both  # databases can differ here


def lease(database: Database, *ids: str, lease_s: float = 300.0) -> None:
    with database.writing() as session:
        images.lease(session, ids, "worker", lease_s)


def take_due(database: Database, limit: int = 100, resend_s: float = 60.0) -> set[str]:
    with database.writing() as session:
        taken: list[str] = []
        for lane in Lane:
            taken += outbox.take_due_images(session, lane, limit - len(taken), ResendBackoff(resend_s, 3600)).ids
    assert len(taken) == len(set(taken))
    return set(taken)


def test_what_is_due_is_taken_the_oldest_first_and_no_more_than_the_limit(
    database: Database, add_images: AddImages
) -> None:
    for age_s, name in ((10, "young"), (30, "old"), (20, "middle")):
        add_images(name, resend_s=-age_s)
    add_images("future", resend_s=60)
    assert take_due(database, limit=2) == {"old", "middle"}
    assert take_due(database, limit=2) == {"young"}
    assert take_due(database, limit=2) == set()


@pytest.mark.parametrize("migrated", ["postgresql"], indirect=True)
def test_the_limit_holds_whatever_plan_postgresql_makes(database: Database) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage(f"{number}", "acc", "url") for number in range(50)], -1)
        for way in ("hashjoin", "hashagg", "mergejoin", "material", "sort"):
            session.execute(text(f"SET LOCAL enable_{way} = off"))
        assert len(outbox.take_due_images(session, Lane.UPLOAD, 7, ResendBackoff(60, 60)).ids) == 7


def test_what_was_sent_comes_again_after_a_while_until_it_is_in_hand(database: Database, add_images: AddImages) -> None:
    add_images("a")
    assert take_due(database, resend_s=-1) == {"a"}
    assert take_due(database, resend_s=-1) == {"a"}
    lease(database, "a")
    assert take_due(database) == set()


def test_what_was_in_hand_too_long_is_sent_again(database: Database, add_images: AddImages) -> None:
    add_images("a")
    lease(database, "a", lease_s=-1)
    assert take_due(database) == {"a"}


def test_each_message_for_nothing_doubles_the_wait_for_the_next(
    database: Database, add_images: AddImages, image_of: ImageOf
) -> None:
    add_images("a")
    waits = []
    for _ in range(3):
        take_due(database, resend_s=100)
        waits.append((image_of("a").next_attempt_at - datetime.now(UTC)).total_seconds())
        with database.writing() as session:
            session.execute(update(Image).values(next_attempt_at=moment(-1)))
    assert waits == [pytest.approx(100, rel=0.4), pytest.approx(200, rel=0.3), pytest.approx(400, rel=0.3)]
    assert image_of("a").sends == 3
    lease(database, "a")
    assert image_of("a").sends == 0


@pytest.mark.parametrize(("sends", "expected_s"), [(0, 60), (1, 120), (3, 480), (4, 600), (5000, 600)])
def test_waits_are_doubled_up_to_a_cap_and_spread(sends: int, expected_s: float) -> None:
    waits = {ResendBackoff(60, 600).after(sends) for _ in range(50)}
    assert len(waits) > 1
    assert all(0.9 * expected_s <= wait <= 1.1 * expected_s for wait in waits)


def test_sweepers_that_look_at_once_send_nothing_twice(
    database: Database, add_images: AddImages, at_once: Callable[[Sequence[Callable[[], Any]]], list[Any]]
) -> None:
    ids = [f"{number:03}" for number in range(60)]
    add_images(*ids)
    got = at_once([lambda: take_due(database, limit=25)] * 3)
    taken = [image_id for some in got for image_id in some] + sorted(take_due(database))
    assert sorted(taken) == ids


# Lag


def test_the_lag_is_how_long_something_has_been_due_and_unsent(database: Database, add_images: AddImages) -> None:
    def lag_s() -> float:
        with database.reading() as session:
            return outbox.lag_s(session)

    add_images("future", resend_s=60)
    assert lag_s() == 0
    add_images("old", resend_s=-120)
    add_images("young", resend_s=-10)
    assert timedelta(seconds=100) < timedelta(seconds=lag_s()) < timedelta(seconds=180)
    take_due(database)
    assert lag_s() == 0


# Giving up


def test_images_that_keep_losing_their_workers_are_parked_with_a_reason(
    database: Database, add_images: AddImages, image_of: ImageOf
) -> None:
    add_images("poison", "fine")
    for _ in range(3):
        lease(database, "poison", lease_s=-1)
    lease(database, "fine", lease_s=-1)
    with database.writing() as session:
        assert outbox.fail_lost_images(session, 2, 0) == ["poison"]
    image = image_of("poison")
    assert (image.state, image.reason, image.lease_owner, image.lease_until) == ("failed", "worker_lost", None, None)
    assert image.detail == "2 workers were lost while they had leased it"
    assert image_of("fine").state == "pending"


def test_no_image_is_to_blame_for_workers_that_were_lost_in_a_short_time(
    database: Database, add_images: AddImages
) -> None:
    add_images("a")
    for _ in range(50):
        lease(database, "a", lease_s=-1)
    with database.writing() as session:
        assert outbox.fail_lost_images(session, 20, 3600) == []
        session.execute(update(Image).values(created_at=moment(-3601)))
        assert outbox.fail_lost_images(session, 20, 3600) == ["a"]


def test_an_image_is_not_parked_while_it_is_in_hand_or_waits_for_its_next_attempt(
    database: Database, add_images: AddImages
) -> None:
    add_images("in hand", "waits")
    for lease_s in (-1, -1, 300):
        lease(database, "in hand", lease_s=lease_s)
        lease(database, "waits", lease_s=-1)
    with database.writing() as session:
        session.execute(update(Image).where(Image.id == "waits").values(next_attempt_at=moment(60)))
        assert outbox.fail_lost_images(session, 1, 0) == []
