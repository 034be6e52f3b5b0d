"""Photos that a later threshold flags get their perceptual hash when nothing else is to do."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, text

from db.policy import case_changes, thresholds
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget
from db.policy.threshold_choice import choose_by_value
from db.privacy import erasure
from db.review import lookalikes
from db.schema import Case, Flag, Image, PerceptualHash, Preview, Request
from db.store.session import Database
from db.work import images, on_demand
from db.work.images import NewImage
from trainer.pixels.preprocess import decode
from worker.background.phash_backfill import PhashBackfiller
from worker.photos.phash import perceptual_hash
from worker.pipeline.on_demand import fulfil_one
from worker.pipeline.service import Service

IDS = ["a", "b"]
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def looker(database: Database, service: Service) -> PhashBackfiller:
    """A worker that has scored two copies of one photo, of two accounts, while no threshold stood."""
    with database.writing() as session:
        images.add_images(session, [NewImage(name, name, f"{name}.jpg") for name in IDS], 60)
    service.score(IDS)
    return PhashBackfiller(service)


def flag_all(database: Database, service: Service, value: float = 0.0) -> None:
    with database.writing() as session:
        version_id = service.models.pair.active.served.id
        choice = choose_by_value(None, value)
        case_changes.set_threshold(session, version_id, "default", choice, ChangeAuthor("ada", "all"), Budget(10))


def asked(database: Database) -> list[tuple[str, str, str | None]]:
    with database.reading() as session:
        rows = session.scalars(select(Request).where(Request.kind == "look").order_by(Request.image_id))
        return [(row.image_id, row.state, row.reason) for row in rows]


def kept(database: Database) -> dict[str, bytes]:
    with database.reading() as session:
        return {look.image_id: look.hash + look.mirrored for look in session.scalars(select(PerceptualHash))}


def test_what_a_later_threshold_flags_is_hashed_and_its_case_finds_its_like(
    database: Database, service: Service, looker: PhashBackfiller, media: Path
) -> None:
    assert not looker.step()
    flag_all(database, service)
    assert asked(database) == [("a", "pending", None), ("b", "pending", None)]
    assert [looker.step() for _ in range(3)] == [True, True, False]
    assert asked(database) == [("a", "done", None), ("b", "done", None)]
    assert kept(database) == dict.fromkeys(IDS, perceptual_hash(decode((media / "a.jpg").read_bytes()).pixels))
    with database.reading() as session:
        first, second = session.scalars(select(Case.id).order_by(Case.account_id))
        assert [one.case.case_id for one in lookalikes.find_lookalikes(session, first)] == [second]


def test_what_is_known_or_asked_for_is_not_asked_for_again(
    database: Database, service: Service, looker: PhashBackfiller
) -> None:
    flag_all(database, service)
    assert looker.step()
    for value in (1.0, 0.0):  # withdrawn, and opened once more
        flag_all(database, service, value)
    assert sorted(state for _, state, _ in asked(database)) == ["done", "pending"]


def test_so_is_a_photo_that_was_scored_before_its_worker_heard_of_the_threshold(
    database: Database, service: Service, looker: PhashBackfiller
) -> None:
    flag_all(database, service)
    with database.writing() as session:
        images.add_images(session, [NewImage("c", "c", "c.jpg")], 60)
    service.score(["c"])
    assert [image_id for image_id, _, _ in asked(database)] == ["a", "b", "c"]
    while looker.step():
        pass
    assert set(kept(database)) == {"a", "b", "c"}


def test_a_worker_that_makes_no_hashes_asks_nobody_for_them(
    database: Database, service: Service, looker: PhashBackfiller
) -> None:
    assert looker
    with database.writing() as session:
        version_id = service.models.pair.active.served.id
        thresholds.set_value(session, version_id, "default", 0.0, "ada", "")
        images.add_images(session, [NewImage("c", "c", "c.jpg")], 60)
    service._hashes = False  # noqa: SLF001 - as without the extra "clusters"
    service.score(["c"])
    with database.reading() as session:
        assert session.scalars(select(Flag.image_id)).all() == ["c"]
    assert (asked(database), kept(database)) == ([], {})


def test_nobody_sends_them_and_a_worker_with_something_in_hand_takes_none(
    database: Database, service: Service, looker: PhashBackfiller
) -> None:
    flag_all(database, service)
    with database.writing() as session:
        assert on_demand.take_due_requests(session, 10, 60) == []
    service.held.ids.add("an upload")  # as while one is scored
    assert not looker.step()
    service.held.ids.clear()
    service.models.accepting = False
    assert not looker.step()
    assert kept(database) == {}


def test_a_photo_that_has_changed_or_is_gone_says_so_and_holds_nobody_up(
    database: Database, service: Service, looker: PhashBackfiller, media: Path
) -> None:
    flag_all(database, service)
    (media / "a.jpg").unlink()
    with (media / "b.jpg").open("ab") as file:
        file.write(b"\0")
    assert [looker.step() for _ in range(3)] == [True, True, False]
    assert asked(database) == [("a", "failed", "not_found"), ("b", "failed", "changed")]


@pytest.mark.both
def test_who_erases_and_who_hashes_wait_for_each_other_in_one_order(
    database: Database, service: Service, looker: PhashBackfiller
) -> None:
    assert looker
    flag_all(database, service)
    with database.writing() as session:
        (task,) = on_demand.lease_hash_requests(session, 1, 60)
    with ThreadPoolExecutor() as pool:
        with database.writing() as session:
            session.execute(select(Image.id).where(Image.id == task.image_id).with_for_update()).all()
            done = pool.submit(fulfil_one, service, task)
            if database.engine.dialect.name == "postgresql":
                while not session.scalar(text(WAITING)):
                    time.sleep(0.01)
            held = select(Request.id).where(Request.id == task.id).with_for_update(nowait=True)
            assert session.scalars(held).all() == [task.id]  # else each would wait for the other
            erasure.erase_images(session, [task.image_id])
        done.result(60)
    assert kept(database) == {}
    assert ("a", "failed", "erased") in asked(database)


def test_an_account_that_is_forgotten_meanwhile_leaves_neither_hash_nor_picture(
    database: Database, service: Service, looker: PhashBackfiller
) -> None:
    assert looker
    flag_all(database, service)
    with database.writing() as session:
        asked_for = on_demand.add_request(session, "preview", "a", "pat")
        tasks = on_demand.lease_hash_requests(session, 10, 60) + on_demand.lease_requests(session, [asked_for], 60)
    erasure.erase_account(database, "a")
    for task in tasks:
        fulfil_one(service, task)
    assert set(kept(database)) == {"b"}
    with database.reading() as session:
        assert session.scalars(select(Preview.picture).where(Preview.picture.is_not(None))).all() == []
