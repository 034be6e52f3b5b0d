"""Whatever becomes of one row or message, its neighbours are scored at their first attempt, in the same step."""

import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, text

from db.errors import DatabaseError
from db.schema import Image
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from db.work.outbox import Lane
from tests.odd_rows import all_kinds, change_unchecked, sql
from worker.background.relay import Senders, fail_unsendable, send_due_images
from worker.core.settings import WorkerSettings
from worker.pipeline.service import Service

PHOTOS = "abcde"


@pytest.fixture
def database(fresh_database: Database) -> Database:
    """Its own: these tests change the schema."""
    return fresh_database


def put(database: Database, ids: Sequence[str]) -> None:
    with database.writing() as session:
        new = [NewImage(name, "account", f"{PHOTOS[at % 5]}.jpg") for at, name in enumerate(ids)]
        images.add_images(session, new, -1)


def rows(database: Database, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    with database.reading() as session:
        found = session.execute(select(Image.id, Image.state, Image.attempts).where(Image.id.in_(list(ids))))
        return {image_id: (state, attempts) for image_id, state, attempts in found}


def sweep(service: Service) -> None:
    """One step of the relay, whose messages this worker takes at once."""

    def send(ids: Sequence[str], _lane: Lane) -> bool:
        service.score(list(ids))
        return True

    fail_unsendable(service.database, thorough=True)
    send_due_images(service.database, Senders(send, lambda _ids: True), WorkerSettings(), dict.fromkeys(Lane, 100))


@pytest.mark.slow
@pytest.mark.both
def test_any_one_of_the_rows_may_be_garbage_and_the_others_are_scored_with_one_attempt_each(
    database: Database, service: Service
) -> None:
    kinds = all_kinds(database)

    @settings(max_examples=2 * len(kinds), deadline=None, suppress_health_check=list(HealthCheck))
    @given(kind=st.sampled_from(sorted(kinds)), count=st.integers(2, 5), at=st.integers(0, 4))
    def check(kind: str, count: int, at: int) -> None:
        ids = [f"{name}-{uuid.uuid4().hex}" for name in PHOTOS[:count]]
        odd = ids[at % count]
        put(database, ids)
        change_unchecked(database, odd, sql(database, kinds[kind][0]))
        sweep(service)
        good = [image_id for image_id in ids if image_id != odd]
        assert rows(database, good) == dict.fromkeys(good, ("scored", 1))
        with database.reading() as session:
            left = session.execute(text("SELECT count(*) FROM images WHERE state = 'pending'")).scalar_one()
            failed = session.scalars(select(Image.reason).where(Image.state == "failed").distinct()).all()
        assert (left, failed, service.in_hand) == (0, ["odd_row"], 0)
        with database.writing() as session:  # the next row of this kind has the same id
            session.execute(delete(Image).where(Image.state == "failed"))

    check()


@pytest.fixture
def refuse(database: Database) -> Callable[[str, str], None]:
    """``refuse("b", "lease_owner")``: a database that refuses to set this column for this image, and for no other."""

    def make(image_id: str, column: str) -> None:
        condition = f"NEW.id = '{image_id}' AND NEW.{column} IS NOT NULL"
        with database.writing() as session:
            if database.url.get_backend_name() == "sqlite":
                session.execute(
                    text(
                        f"CREATE TRIGGER refusing BEFORE UPDATE ON images WHEN {condition} "
                        "BEGIN SELECT RAISE(ABORT, 'refused'); END"
                    )
                )
                return
            session.execute(
                text(
                    "CREATE FUNCTION unmask.refusing() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN RAISE EXCEPTION 'refused'; END $$"
                )
            )
            session.execute(
                text(
                    f"CREATE TRIGGER refusing BEFORE UPDATE ON unmask.images FOR EACH ROW WHEN ({condition}) "
                    "EXECUTE FUNCTION unmask.refusing()"
                )
            )

    return make


@pytest.mark.both
@pytest.mark.parametrize("column", ["lease_owner", "sha256"])
def test_a_lease_or_record_that_the_database_refuses_concerns_its_image_alone(
    database: Database, service: Service, refuse: Callable[[str, str], None], column: str
) -> None:
    put(database, "abc")
    refuse("b", column)
    if column == "lease_owner":
        with pytest.raises(DatabaseError, match="refused"):
            service.score(["a", "b", "c"])
        assert rows(database, "abc")["b"] == ("pending", 0)
    else:
        service.score(["a", "b", "c"])
        assert rows(database, "abc")["b"] == ("pending", 1)  # it has a reason, and another try
    assert [rows(database, "abc")[name] for name in "ac"] == [("scored", 1)] * 2
    assert service.in_hand == 0


def test_what_cannot_be_recorded_at_all_is_released_and_counts_as_a_loss(
    database: Database, service: Service, refuse: Callable[[str, str], None]
) -> None:
    put(database, "abc")
    refuse("b", "reason")
    refuse_score = "BEFORE INSERT ON scores WHEN NEW.image_id = 'b' BEGIN SELECT RAISE(ABORT, 'no'); END"
    if database.url.get_backend_name() != "sqlite":
        pytest.skip("its twin on SQLite says it")
    with database.writing() as session:
        session.execute(text(f"CREATE TRIGGER no_score {refuse_score}"))
    with pytest.raises(DatabaseError):
        service.score(["a", "b", "c"])
    with database.reading() as session:
        row = session.get_one(Image, "b")
        assert (row.state, row.lease_owner, row.attempts, row.losses) == ("pending", None, 1, 1)
    assert [rows(database, "abc")[name] for name in "ac"] == [("scored", 1)] * 2
    assert service.in_hand == 0


@pytest.mark.parametrize(
    "ids",
    [
        ["a", "a", "a", "b"],
        ["a", "unknown", "b"],
        ["a", *(f"nobody-{number}" for number in range(900)), "b"],
        ["a", "\x1b[31m", "\ufffd", "' OR 1=1 --", "%s", "b"],
    ],
    ids=["twice", "unknown", "hundreds", "odd"],
)
def test_a_message_with_odd_ids_has_its_known_ones_scored_once(
    database: Database, service: Service, ids: list[str]
) -> None:
    put(database, "ab")
    service.score(ids)
    assert rows(database, "ab") == {"a": ("scored", 1), "b": ("scored", 1)}
    assert service.in_hand == 0


def test_a_worker_that_stops_releases_its_leases_threads_and_files(
    database: Database, worker_settings: WorkerSettings, registered: list[Any]
) -> None:
    assert registered
    before, files = set(threading.enumerate()), len(list(Path("/proc/self/fd").iterdir()))
    service = Service.open(worker_settings)
    put(database, "abc")
    service.held.lease({"a", "b"}, again=False)  # as if they were in the middle of their work
    service.release_leases()
    with database.reading() as session:
        found = session.execute(select(Image.lease_owner, Image.attempts).order_by(Image.id)).all()
    assert found == [(None, 0)] * 3
    service.close()
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()
    assert len(list(Path("/proc/self/fd").iterdir())) <= files + 2  # the test's own connections
