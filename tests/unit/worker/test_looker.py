"""Photos that a later threshold flags get their perceptual hash when nothing else is to do."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, text

from db.policy import policies, thresholds
from db.privacy import accounts
from db.review import lookalikes
from db.work import images, requests
from db.policy.changes import Budget
from db.work.images import NewImage
from db.schema import Case, Flag, Image, Look, Preview, Request
from db.store.session import Database
from db.policy.signature import Signature
from db.policy.thresholds import by_value
from trainer.pixels.preprocess import decode
from worker.background.looker import Looker
from worker.photos.looks import looks_of
from worker.pipeline.requests import fulfil_one
from worker.pipeline.service import Service

IDS = ["a", "b"]
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def looker(database: Database, service: Service) -> Looker:
    """A worker that has scored two copies of one photo, of two accounts, while no threshold stood."""
    with database.writing() as session:
        images.add(session, [NewImage(name, name, f"{name}.jpg") for name in IDS], 60)
    service.score(IDS)
    return Looker(service)


def flag_all(database: Database, service: Service, value: float = 0.0) -> None:
    with database.writing() as session:
        version_id = service.models.pair.active.served.id
        choice = by_value(None, value)
        policies.set_threshold(session, version_id, "default", choice, Signature("ada", "all"), Budget(10))


def asked(database: Database) -> list[tuple[str, str, str | None]]:
    with database.reading() as session:
        rows = session.scalars(select(Request).where(Request.kind == "look").order_by(Request.image_id))
        return [(row.image_id, row.state, row.reason) for row in rows]


def kept(database: Database) -> dict[str, bytes]:
    with database.reading() as session:
        return {look.image_id: look.hash + look.mirrored for look in session.scalars(select(Look))}


def test_what_a_later_threshold_flags_is_hashed_and_its_case_finds_its_like(
    database: Database, service: Service, looker: Looker, media: Path
) -> None:
    assert not looker.step()
    flag_all(database, service)
    assert asked(database) == [("a", "pending", None), ("b", "pending", None)]
    assert [looker.step() for _ in range(3)] == [True, True, False]
    assert asked(database) == [("a", "done", None), ("b", "done", None)]
    assert kept(database) == dict.fromkeys(IDS, looks_of(decode((media / "a.jpg").read_bytes()).pixels))
    with database.reading() as session:
        first, second = session.scalars(select(Case.id).order_by(Case.account_id))
        assert [one.case.case_id for one in lookalikes.same_face(session, first)] == [second]


def test_what_is_known_or_asked_for_is_not_asked_for_again(
    database: Database, service: Service, looker: Looker
) -> None:
    flag_all(database, service)
    assert looker.step()
    for value in (1.0, 0.0):  # withdrawn, and opened once more
        flag_all(database, service, value)
    assert sorted(state for _, state, _ in asked(database)) == ["done", "pending"]


def test_so_is_a_photo_that_was_scored_before_its_worker_heard_of_the_threshold(
    database: Database, service: Service, looker: Looker
) -> None:
    flag_all(database, service)
    with database.writing() as session:
        images.add(session, [NewImage("c", "c", "c.jpg")], 60)
    service.score(["c"])
    assert [image_id for image_id, _, _ in asked(database)] == ["a", "b", "c"]
    while looker.step():
        pass
    assert set(kept(database)) == {"a", "b", "c"}


def test_a_worker_that_makes_no_hashes_asks_nobody_for_them(
    database: Database, service: Service, looker: Looker
) -> None:
    assert looker
    with database.writing() as session:
        version_id = service.models.pair.active.served.id
        thresholds.set_value(session, version_id, "default", 0.0, "ada", "")
        images.add(session, [NewImage("c", "c", "c.jpg")], 60)
    service._looks = False  # noqa: SLF001 - as without the extra "clusters"
    service.score(["c"])
    with database.reading() as session:
        assert session.scalars(select(Flag.image_id)).all() == ["c"]
    assert (asked(database), kept(database)) == ([], {})


def test_nobody_sends_them_and_a_worker_with_something_in_hand_takes_none(
    database: Database, service: Service, looker: Looker
) -> None:
    flag_all(database, service)
    with database.writing() as session:
        assert requests.take_due(session, 10, 60) == []
    service._held.add("an upload")  # noqa: SLF001 - as while one is scored
    assert not looker.step()
    service._held.clear()  # noqa: SLF001
    service.models.taking = False
    assert not looker.step()
    assert kept(database) == {}


def test_a_photo_that_has_changed_or_is_gone_says_so_and_holds_nobody_up(
    database: Database, service: Service, looker: Looker, media: Path
) -> None:
    flag_all(database, service)
    (media / "a.jpg").unlink()
    with (media / "b.jpg").open("ab") as file:
        file.write(b"\0")
    assert [looker.step() for _ in range(3)] == [True, True, False]
    assert asked(database) == [("a", "failed", "not_found"), ("b", "failed", "changed")]


def test_who_erases_and_who_hashes_wait_for_each_other_in_one_order(
    database: Database, service: Service, looker: Looker
) -> None:
    assert looker
    flag_all(database, service)
    with database.writing() as session:
        (task,) = requests.take_looks(session, 1, 60)
    with ThreadPoolExecutor() as pool:
        with database.writing() as session:
            session.execute(select(Image.id).where(Image.id == task.image_id).with_for_update()).all()
            done = pool.submit(fulfil_one, service, task)
            if database.engine.dialect.name == "postgresql":
                while not session.scalar(text(WAITING)):
                    time.sleep(0.01)
            held = select(Request.id).where(Request.id == task.id).with_for_update(nowait=True)
            assert session.scalars(held).all() == [task.id]  # else each would wait for the other
            accounts.erase(session, [task.image_id])
        done.result(60)
    assert kept(database) == {}
    assert ("a", "failed", "erased") in asked(database)


def test_an_account_that_is_forgotten_meanwhile_leaves_neither_hash_nor_picture(
    database: Database, service: Service, looker: Looker
) -> None:
    assert looker
    flag_all(database, service)
    with database.writing() as session:
        asked_for = requests.ask(session, "preview", "a", "pat")
        tasks = requests.take_looks(session, 10, 60) + requests.begin(session, [asked_for], 60)
    accounts.forget(database, "a")
    for task in tasks:
        fulfil_one(service, task)
    assert set(kept(database)) == {"b"}
    with database.reading() as session:
        assert session.scalars(select(Preview.picture).where(Preview.picture.is_not(None))).all() == []
