"""An image joins the caller's transaction, which sends nothing: the row is all that an upload flow writes."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from db.errors import ConflictError
from db.schema import Image, Policy
from db.store.session import Database
from worker.client import MAX_URL, enqueue, enqueue_many, new_image


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


# The caller's transaction


def test_an_image_is_there_after_the_commit_and_due_at_once(database: Database, session: Session) -> None:
    put(session, "a")
    session.commit()
    with database.reading() as other:
        image = other.get_one(Image, "a")
        assert (image.state, image.lane, image.policy) == ("pending", "upload", "default")
        assert image.next_attempt_at <= image.created_at


def test_a_transaction_that_rolls_back_leaves_nothing(database: Database, session: Session) -> None:
    put(session, "a")
    session.rollback()
    put(session, "b")
    session.commit()
    assert known(database) == {"b"}


def test_a_commit_that_fails_leaves_nothing(database: Database, session: Session) -> None:
    """A deferred constraint of the upload flow's own fails at the commit, and not before."""
    session.execute(text("CREATE TEMPORARY TABLE albums (id INTEGER PRIMARY KEY)"))
    session.execute(
        text("CREATE TEMPORARY TABLE photos (album INTEGER REFERENCES albums DEFERRABLE INITIALLY DEFERRED)")
    )
    session.execute(text("INSERT INTO photos VALUES (1)"))
    put(session, "a")
    with pytest.raises(IntegrityError):
        session.commit()
    session.rollback()
    assert known(database) == set()


def test_a_savepoint_that_rolls_back_takes_its_own_images_with_it(database: Database, session: Session) -> None:
    put(session, "a")
    with session.begin_nested() as savepoint:
        put(session, "b")
        savepoint.rollback()
    put(session, "d")
    session.commit()
    assert known(database) == {"a", "d"}


def test_a_scoped_session_is_as_good(database: Database) -> None:
    """As web frameworks hand it out: the same object for every thread's own session."""
    scoped = scoped_session(sessionmaker(database.engine))
    for name in ("a", "b"):
        enqueue(scoped(), account_id="acc", url="a.jpg", image_id=name)
        scoped.commit()
        scoped.remove()
    assert known(database) == {"a", "b"}


def test_the_client_needs_neither_celery_nor_a_broker() -> None:
    program = "import sys, worker.client; print({'celery', 'kombu', 'redis', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("migrated", ["postgresql"], indirect=True)
def test_an_applications_session_finds_our_table_and_keeps_its_own(database: Database) -> None:
    """Its search path leads to a table of the same name, which stays its own in the same transaction."""
    from sqlalchemy import create_engine

    engine = create_engine(database.url)
    with Session(engine) as session, session.begin():
        session.execute(text("CREATE TEMPORARY TABLE images (id text, caption text)"))
        put(session, "a")
        put(session, "a")
        session.execute(text("INSERT INTO images VALUES ('mine', 'a caption')"))
        assert session.execute(text("SELECT id FROM images")).scalars().all() == ["mine"]
    engine.dispose()
    assert known(database) == {"a"}


# What is said twice


def test_the_same_image_again_is_one_image(database: Database, session: Session) -> None:
    assert put(session, "a") == "a"
    session.commit()
    assert put(session, "a") == "a"
    session.commit()
    assert known(database) == {"a"}


@pytest.mark.parametrize(
    ("account_id", "url", "policy"),
    [("other", "a.jpg", "default"), ("acc", "other.jpg", "default"), ("acc", "a.jpg", "other")],
)
def test_another_image_under_a_known_id_is_a_conflict(session: Session, account_id: str, url: str, policy: str) -> None:
    session.add(Policy(name="other", created_by="ada"))
    session.flush()
    put(session, "a")
    session.commit()
    with pytest.raises(ConflictError, match="image 'a' is known with another"):
        enqueue(session, account_id=account_id, url=url, image_id="a", policy=policy)


# Ids


def test_an_image_without_an_id_gets_a_new_one_each_time(database: Database, session: Session) -> None:
    ids = [enqueue(session, account_id="acc", url="a.jpg") for _ in range(2)]
    session.commit()
    assert len(set(ids)) == 2
    assert known(database) == set(ids)


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
        ({"lane": "fast"}, "lane must be one of upload, backfill: 'fast'"),
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


def test_thousands_of_known_images_are_found_known(database: Database, session: Session) -> None:
    """More than a database takes parameters in a statement."""
    new = [new_image(account_id="acc", url="a.jpg", image_id=f"{number}", lane="backfill") for number in range(2500)]
    assert enqueue_many(session, new[:2400]) == 2400
    assert enqueue_many(session, new) == 100
    session.commit()
    assert len(known(database)) == 2500


def test_nothing_to_enqueue_is_nothing(database: Database, session: Session) -> None:
    assert enqueue_many(session, []) == 0
    session.commit()
    assert known(database) == set()
