"""Images wait until they are due, are in one worker's hands at a time, and leave with a reason or a score."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.errors import ConflictError
from db.privacy import erasure
from db.schema import Case, Image, ModelVersion, Policy, Score, Threshold
from db.schema.clock import moment
from db.store import ids
from db.store.session import Database
from db.work import images, outbox
from db.work.images import Failure, LeasedImage, NewImage
from db.work.outbox import Lane, ResendBackoff

AddImages = Callable[..., list[str]]
ImageOf = Callable[[str], Image]
pytestmark = pytest.mark.both  # databases can differ here


def lease(database: Database, *ids: str, owner: str = "worker", lease_s: float = 300.0) -> list[LeasedImage]:
    with database.writing() as session:
        return images.lease(session, ids, owner, lease_s)


def lease_in_pieces(database: Database, ids: list[str], owner: str) -> list[str]:
    """In pieces that overlap, and are therefore fought about."""
    pieces = [ids[start : start + 16] for start in range(0, len(ids), 8)]
    return [job.image_id for piece in pieces for job in lease(database, *piece, owner=owner)]


def due(database: Database) -> set[str]:
    """What would be sent now."""
    with database.reading() as session:
        return {i for lane in Lane for i in outbox.take_due_images(session, lane, 100, ResendBackoff(60, 60)).ids}


def put_back(database: Database, *failures: Failure, owner: str = "worker") -> None:
    with database.writing() as session:
        images.record_failures(session, failures, owner)


# What other languages write


@pytest.mark.usefixtures("vip")
def test_a_plain_insert_gets_all_defaults_and_is_due_at_once(database: Database, image_of: ImageOf) -> None:
    with database.writing() as session:
        session.execute(text("INSERT INTO images (id, account_id, url, policy) VALUES ('a', 'acc', 'a.jpg', 'vip')"))
    image = image_of("a")
    assert (image.id, image.account_id, image.url, image.policy) == ("a", "acc", "a.jpg", "vip")
    assert (image.state, image.attempts) == ("pending", 0)
    empty = ("lease_owner", "lease_until", "reason", "detail", "sha256", "bytes", "width", "height")
    assert {name: getattr(image, name) for name in empty} == dict.fromkeys(empty)
    for time in (image.created_at, image.changed_at, image.next_attempt_at):
        assert abs(time - datetime.now(UTC)) < timedelta(seconds=30)
    assert due(database) == {"a"}


def test_a_plain_insert_without_a_policy_is_under_the_default_one(database: Database, image_of: ImageOf) -> None:
    with database.writing() as session:
        session.execute(text("INSERT INTO images (id, account_id, url) VALUES ('a', 'acc', 'a.jpg')"))
    assert image_of("a").policy == "default"


LONG = "x" * 129
VERSION: dict[str, Any] = {"id": 1, "name": "m", "sha256": "f", "preprocess": "p", "card": {}, "state": "active"}
SCORE: dict[str, Any] = {"image_id": "a", "version_id": 1, "score": 0.5, "engine": "eager", "device": "cpu"}
THRESHOLD: dict[str, Any] = {"version_id": 1, "policy": "default", "value": 0.5, "author": "ada", "reason": ""}
CASE: dict[str, Any] = {"account_id": "acc", "policy": "default"}


@pytest.mark.parametrize(
    ("table", "row"),
    [
        (Image, {"id": "b", "state": "lost"}),
        (Image, {"id": ""}),
        (Image, {"id": None}),
        (Image, {"id": "a"}),
        (Image, {"id": "b", "account_id": ""}),
        (Image, {"id": "b", "policy": ""}),
        (Image, {"id": "b", "policy": None}),
        (ModelVersion, VERSION | {"id": 2, "name": "n", "sha256": "e"}),
        (ModelVersion, VERSION | {"id": 2, "sha256": "e", "state": "candidate"}),
        (ModelVersion, VERSION | {"id": 2, "name": "n", "state": "candidate"}),
        (ModelVersion, VERSION | {"id": 2, "name": "n", "sha256": "e", "state": "resting"}),
        (Score, SCORE | {"score": 1.01}),
        (Score, SCORE | {"score": -0.01}),
        (Score, SCORE | {"score": float("nan")}),
        (Score, SCORE | {"image_id": "unknown"}),
        (Score, SCORE | {"version_id": 9}),
        (Threshold, THRESHOLD | {"value": 1.01}),
        (Threshold, THRESHOLD | {"value": -0.01}),
        (Threshold, THRESHOLD | {"policy": ""}),
        (Case, CASE),
        (Case, CASE | {"account_id": "other", "state": "forgotten"}),
    ],
    ids=lambda value: str(getattr(value, "__tablename__", value))[:80],
)
def test_the_database_refuses_rows_that_make_no_sense(session: Session, table: type[Any], row: dict[str, Any]) -> None:
    session.execute(insert(Image).values(id="a", account_id="acc"))
    session.execute(insert(ModelVersion).values(VERSION))
    session.execute(insert(Case).values(CASE))
    with pytest.raises(IntegrityError):
        session.execute(insert(table).values(row))


@pytest.mark.parametrize("column", ["id", "account_id", "policy"])
def test_the_database_refuses_ids_that_are_too_long(session: Session, column: str) -> None:
    """PostgreSQL by the column's type, SQLite by our constraint."""
    session.execute(insert(Policy).values(name="é" * 128, created_by="ada"))
    session.execute(insert(Image).values({"id": "b"} | {column: "é" * 128}))
    session.execute(delete(Image))
    with pytest.raises(Exception, match=rf"too long for type|{column}_length|the {column} is unknown"):
        session.execute(insert(Image).values({"id": "b"} | {column: "é" * 129}))


def test_the_same_image_may_be_scored_by_each_version_once(session: Session) -> None:
    session.execute(insert(Image).values(id="a"))
    session.execute(insert(ModelVersion).values(VERSION))
    session.execute(insert(ModelVersion).values(VERSION | {"id": 2, "name": "n", "sha256": "e", "state": "shadow"}))
    session.execute(insert(Score).values(SCORE))
    session.execute(insert(Score).values(SCORE | {"version_id": 2}))
    with suppress(IntegrityError):  # SQLite passes over it, since migration 0014
        session.execute(insert(Score).values(SCORE))
        assert session.scalar(select(func.count(Score.id))) == 2


def test_an_account_may_have_closed_cases_and_one_open_case_a_policy(session: Session) -> None:
    for case in ({"state": "dismissed"}, {"state": "dismissed"}, {"state": "open"}, {"policy": "vip"}):
        session.execute(insert(Case).values(CASE | case))
    with pytest.raises(IntegrityError):
        session.execute(insert(Case).values(CASE))


# Adding


@pytest.mark.parametrize("value", ["a", "x" * 128, "é", "a b/c:d", "🙂"])
def test_an_id_is_text_of_up_to_128_characters(value: str) -> None:
    assert ids.check_id("image_id", value) == value


@pytest.mark.parametrize("value", ["", LONG, "a\0b", "a\ud800", "\udfffb", None, 7, b"a", ["a"]])
def test_anything_else_is_no_id(value: object) -> None:
    with pytest.raises(ValueError, match=r"^image_id must be text of 1 to 128 characters, .*: ") as caught:
        ids.check_id("image_id", value)
    assert len(str(caught.value)) < 250


def test_added_images_are_left_to_their_senders_for_a_while(database: Database, add_images: AddImages) -> None:
    assert add_images("a", "b", resend_s=60.0) == ["a", "b"]
    assert due(database) == set()
    with database.reading() as session:
        assert images.count_images(session) == {"pending": 2, "scored": 0, "failed": 0, "unusable": 0}


def test_the_same_image_twice_is_one_image(add_images: AddImages, image_of: ImageOf) -> None:
    add_images("a")
    created_at = image_of("a").created_at
    assert add_images("a", "b") == ["b"]
    assert image_of("a").created_at == created_at


def test_twice_in_one_call_is_one_image_too(database: Database) -> None:
    with database.writing() as session:
        assert images.add_images(session, [NewImage("a", "acc", "a.jpg")] * 2, 60) == ["a"]
        assert images.count_images(session)["pending"] == 1


def test_an_id_that_was_erased_is_known_and_stays_erased(database: Database) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage("a", "acc", "a.jpg")], 60)
    erasure.erase_account(database, "acc")
    with database.writing() as session:
        assert images.add_images(session, [NewImage("a", "acc", "a.jpg"), NewImage("b", "acc", "b.jpg")], 60) == ["b"]
    with database.reading() as session:
        assert session.get_one(Image, "a").account_id is None


def test_two_photos_under_one_id_in_one_call_are_a_conflict_and_add_nothing(database: Database) -> None:
    new = [NewImage("a", "acc", "a.jpg"), NewImage("b", "acc", "b.jpg"), NewImage("a", "acc", "other.jpg")]
    with pytest.raises(ConflictError, match="image 'a' is known with another url"), database.writing() as session:
        images.add_images(session, new, 60)
    with database.reading() as session:
        assert images.count_images(session)["pending"] == 0


@pytest.mark.parametrize("field", ["account_id", "url", "policy"])
def test_an_id_that_is_known_with_something_else_is_a_conflict_and_adds_nothing(
    database: Database, add_policy: Callable[[str], None], field: str
) -> None:
    add_policy("another")
    first = {"id": "a", "account_id": "acc", "url": "a.jpg", "policy": "default"}
    second = [NewImage("b", "acc", "b.jpg"), NewImage(**(first | {field: "another"}))]
    with database.writing() as session:
        images.add_images(session, [NewImage(**first)], 60)
    with pytest.raises(ConflictError, match=f"image 'a' is known with another {field}"), database.writing() as session:
        images.add_images(session, second, 60)
    with database.reading() as session:
        assert images.count_images(session)["pending"] == 1


# Taking in hand


def test_a_lease_gives_what_a_worker_must_know_and_counts_the_attempt(
    database: Database, add_images: AddImages, image_of: ImageOf
) -> None:
    add_images("a", account_id="acc", policy="vip")
    assert lease(database, "a", owner="me") == [
        LeasedImage("a", "acc", "a.jpg", "vip", attempts=1, losses=0, overdue=False)
    ]
    image = image_of("a")
    assert image.lease_owner == "me"
    assert image.lease_until is not None
    assert timedelta(seconds=200) < image.lease_until - datetime.now(UTC) < timedelta(seconds=400)
    with database.reading() as session:
        assert sum(images.count_leases(session).values()) == 1


def test_an_image_in_hand_is_nobody_elses(database: Database, add_images: AddImages, image_of: ImageOf) -> None:
    add_images("a", "b")
    lease(database, "a", owner="me")
    assert [job.image_id for job in lease(database, "a", "b", owner="you")] == ["b"]
    assert lease(database, "a", owner="me") == []
    assert image_of("a").attempts == 1


def test_a_lease_expires_and_the_next_worker_sees_how_often_it_was_tried(
    database: Database, add_images: AddImages
) -> None:
    add_images("a")
    lease(database, "a", owner="me", lease_s=-1)
    with database.reading() as session:
        assert sum(images.count_leases(session).values()) == 0
    assert [job.attempts for job in lease(database, "a", owner="you")] == [2]


@pytest.mark.parametrize("state", ["scored", "failed", "unusable"])
def test_images_that_are_done_with_are_not_leased_nor_due(
    database: Database, add_images: AddImages, state: str
) -> None:
    add_images("a")
    with database.writing() as session:
        session.execute(update(Image).values(state=state))
    assert lease(database, "a") == []
    assert due(database) == set()


def test_unknown_images_are_not_leased(database: Database) -> None:
    assert lease(database, "unknown") == []
    assert lease(database) == []


def test_workers_that_lease_at_once_share_no_image_and_leave_none(
    database: Database, add_images: AddImages, at_once: Callable[[Sequence[Callable[[], Any]]], list[Any]]
) -> None:
    for turn in range(3):
        ids = [f"{turn}-{number}" for number in range(40)]
        add_images(*ids)

        got = at_once([partial(lease_in_pieces, database, ids, owner) for owner in ("one", "two", "three")])
        taken = [image_id for owned in got for image_id in owned]
        assert len(taken) == len(set(taken))
        assert set(taken) | {job.image_id for job in lease(database, *ids)} == set(ids)


@pytest.mark.parametrize("migrated", ["postgresql"], indirect=True)
def test_a_lease_does_not_wait_for_one_that_is_being_written(database: Database) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage(name, "acc", "url") for name in ("a", "b")], -1)
    with database.writing() as mine:
        images.lease(mine, ["a"], "me", 300)
        assert [job.image_id for job in lease(database, "a", "b", owner="you")] == ["b"]


# Letting go


def test_a_transient_failure_waits_for_its_next_attempt(
    database: Database, add_images: AddImages, image_of: ImageOf
) -> None:
    add_images("a")
    lease(database, "a")
    put_back(database, Failure("a", "timeout", "no answer", retry_s=60.0))
    image = image_of("a")
    assert (image.state, image.reason, image.detail, image.lease_owner) == ("pending", "timeout", "no answer", None)
    assert timedelta(seconds=30) < image.next_attempt_at - datetime.now(UTC) < timedelta(seconds=90)
    assert due(database) == set()


def test_a_transient_failure_is_due_once_its_pause_is_over(database: Database, add_images: AddImages) -> None:
    add_images("a", resend_s=60)
    lease(database, "a")
    put_back(database, Failure("a", "timeout", "", retry_s=-1.0))
    assert due(database) == {"a"}
    assert [job.attempts for job in lease(database, "a")] == [2]


def test_a_permanent_failure_is_over_and_can_be_listed(
    database: Database, add_images: AddImages, image_of: ImageOf
) -> None:
    add_images("a", "b", "c")
    lease(database, "a", "b")
    put_back(database, Failure("a", "not_found", "HTTP 404"), Failure("b", "timeout", "", retry_s=60.0))
    assert (image_of("a").state, image_of("b").state, image_of("c").state) == ("failed", "pending", "pending")
    assert image_of("a").reason == "not_found"
    assert due(database) == {"c"}
    assert lease(database, "a") == []


@pytest.mark.parametrize("retry_s", [None, 60.0], ids=["permanent", "transient"])
def test_an_image_that_was_scored_meanwhile_stays_scored(
    database: Database,
    add_images: AddImages,
    image_of: ImageOf,
    record: Callable[..., list[str]],
    retry_s: float | None,
) -> None:
    add_images("a")
    lease(database, "a", lease_s=-1)
    record({"a": 0.5})
    put_back(database, Failure("a", "timeout", "too late", retry_s))
    assert (image_of("a").state, image_of("a").reason, image_of("a").sha256) == ("scored", None, "f" * 64)


def test_failures_of_unknown_images_and_none_at_all_change_nothing(database: Database) -> None:
    put_back(database)
    put_back(database, Failure("unknown", "timeout", ""))
    with database.reading() as session:
        assert session.scalar(select(func.count(Image.id))) == 0


# Looking


def test_the_longest_wait_is_the_oldest_pending_images(database: Database, add_images: AddImages) -> None:
    with database.reading() as session:
        assert images.oldest_pending(session) is None
    add_images("old", "new", "done")
    with database.writing() as session:
        session.execute(update(Image).where(Image.id == "old").values(created_at=moment(-600)))
        session.execute(update(Image).where(Image.id == "done").values(created_at=moment(-6000), state="scored"))
    with database.reading() as session:
        oldest = images.oldest_pending(session)
    assert oldest is not None
    assert timedelta(seconds=540) < datetime.now(UTC) - oldest < timedelta(seconds=660)


def test_counts_name_every_state(database: Database, add_images: AddImages) -> None:
    add_images("a", "b", "c", "d")
    with database.writing() as session:
        for name, state in (("b", "scored"), ("c", "failed"), ("d", "failed")):
            session.execute(update(Image).where(Image.id == name).values(state=state))
        assert images.count_images(session) == {"pending": 1, "scored": 1, "failed": 2, "unusable": 0}


# Lost and given back


def test_a_worker_that_was_never_heard_of_again_is_a_loss_and_not_a_try(
    database: Database, add_images: AddImages
) -> None:
    add_images("a")
    lease(database, "a", owner="killed", lease_s=-1)
    (job,) = lease(database, "a", owner="next", lease_s=-1)
    assert (job.attempts, job.losses, job.tries) == (2, 1, 1)
    (job,) = lease(database, "a", owner="third")
    assert (job.attempts, job.losses, job.tries) == (3, 2, 1)


def test_what_failed_and_was_put_back_is_a_try_and_no_loss(database: Database, add_images: AddImages) -> None:
    add_images("a")
    lease(database, "a")
    put_back(database, Failure("a", "timeout", "", retry_s=-1.0))
    (job,) = lease(database, "a")
    assert (job.attempts, job.losses, job.tries) == (2, 0, 2)


def test_nobody_skips_the_pause_before_the_next_attempt(database: Database, add_images: AddImages) -> None:
    add_images("a")
    lease(database, "a")
    put_back(database, Failure("a", "timeout", "", retry_s=60.0))
    assert lease(database, "a") == []
    with database.reading() as session:
        assert sum(images.count_leases(session).values()) == 0


def test_only_who_has_an_image_in_hand_may_put_it_back(
    database: Database, add_images: AddImages, image_of: ImageOf
) -> None:
    add_images("a")
    lease(database, "a", owner="slow", lease_s=-1)
    lease(database, "a", owner="quick")
    put_back(database, Failure("a", "timeout", "too late"), owner="slow")
    assert (image_of("a").state, image_of("a").lease_owner, image_of("a").reason) == ("pending", "quick", None)


def test_many_failures_are_put_back_by_one_statement(
    database: Database, add_images: AddImages, statements: Callable[[Session], list[tuple[str, Any]]]
) -> None:
    ids = [f"{number}" for number in range(20)]
    add_images(*ids)
    lease(database, *ids)
    with database.writing() as session:
        heard = statements(session)
        pauses = [None if int(image_id) % 2 else 60.0 for image_id in ids]
        images.record_failures(
            session, [Failure(i, "timeout", "", pause) for i, pause in zip(ids, pauses, strict=True)], "worker"
        )
    assert len(heard) == 1
    with database.reading() as session:
        assert images.count_images(session) == {"pending": 10, "scored": 0, "failed": 10, "unusable": 0}


@pytest.mark.parametrize(("lost", "expected"), [(False, (1, 0)), (True, (2, 1))], ids=["given back", "lost"])
def test_what_is_given_back_can_be_taken_at_once(
    database: Database, add_images: AddImages, lost: bool, expected: tuple[int, int]
) -> None:
    add_images("a", "b", resend_s=60)
    lease(database, "a", owner="stopping")
    lease(database, "b", owner="another")
    with database.writing() as session:
        images.release_leases(session, ["a", "b"], "stopping", lost=lost)
    assert due(database) == {"a"}
    (job,) = lease(database, "a", "b")
    assert (job.attempts, job.losses) == expected


def test_workers_are_listed_with_what_they_have_in_hand(database: Database, add_images: AddImages) -> None:
    add_images("a", "b", "c", "d")
    lease(database, "a", "b", owner="one")
    lease(database, "c", owner="two")
    lease(database, "d", owner="lost", lease_s=-1)
    with database.reading() as session:
        assert images.count_leases(session) == {"one": 2, "two": 1}


def test_an_image_is_overdue_once_it_came_in_long_ago(database: Database, add_images: AddImages) -> None:
    add_images("old", "new")
    with database.writing() as session:
        session.execute(update(Image).where(Image.id == "old").values(created_at=moment(-100)))
        jobs = images.lease(session, ["old", "new"], "worker", 300, deadline_s=50)
    assert {job.image_id: job.overdue for job in jobs} == {"old": True, "new": False}


# Plans


@pytest.mark.parametrize("migrated", ["postgresql"], indirect=True)
def test_a_backfill_that_statistics_do_not_know_of_yet_slows_no_lease_down(database: Database) -> None:
    """Each lease would read all that are due, and throw away all but its own."""
    many = "INSERT INTO images (id, account_id, url, state) SELECT 'old-' || n, 'acc', 'a.jpg', 'scored'"
    with database.writing() as session:
        session.execute(text(f"{many} FROM generate_series(1, 5000) AS n"))
        session.execute(text("ANALYZE images"))
    plans: list[str] = []

    def explain(connection: Connection, cursor: Any, sql: str, parameters: Any, *_: Any) -> None:  # noqa: ARG001
        cursor.execute(f"EXPLAIN {sql}", parameters)
        plans.extend(line for (line,) in cursor.fetchall())

    event.listen(database.engine, "before_cursor_execute", explain)
    lease(database, *(f"new-{number}" for number in range(16)))
    put_back(database, Failure("new-1", "timeout", "", 1.0))
    event.remove(database.engine, "before_cursor_execute", explain)
    assert any("pk_images" in line for line in plans)
    assert not [line for line in plans if "ix_images_due" in line]
