"""`enqueue` and `result` do the same on every connection that an application may have."""

import json
import os
import subprocess
import sys
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from unmask_client import ConflictError, UnmaskError, enqueue, photo, result

from db.schema import ID_LENGTH, LANES
from tests.clients import exercise, installing
from tests.clients.conftest import Record
from worker import client

CLIENT = Path(__file__).parents[2] / "deploy" / "clients" / "python"

#: The kinds of connection that need nothing besides what our own environment has, by database.
HERE = [
    *(("sqlite", kind) for kind in ("session", "scoped-session", "connection", "raw-connection")),
    *(("sqlite", kind) for kind in ("sqlite3", "sqlite3-rows", "sqlite3-cursor")),
    *(("postgresql", kind) for kind in ("session", "scoped-session", "connection", "raw-connection")),
    *(("postgresql", kind) for kind in ("async-session", "async-connection", "psycopg", "psycopg-cursor")),
]
#: Those that need packages of their own, and so a process of their own: database, kind, scheme of the URL, packages.
ELSEWHERE = [
    ("sqlite", "session", "sqlite", ["sqlalchemy<2"]),
    ("sqlite", "connection", "sqlite", ["sqlalchemy<2"]),
    ("sqlite", "async-session", "sqlite+aiosqlite", ["aiosqlite"]),
    ("sqlite", "django", "sqlite", ["django"]),
    ("postgresql", "session", "postgresql+psycopg2", ["sqlalchemy<2", "psycopg2-binary"]),
    ("postgresql", "connection", "postgresql+psycopg2", ["sqlalchemy<2", "psycopg2-binary"]),
    ("postgresql", "async-session", "postgresql+asyncpg", ["sqlalchemy<2", "asyncpg"]),
    ("postgresql", "async-session", "postgresql+asyncpg", ["asyncpg"]),
    ("postgresql", "psycopg2", "postgresql", ["psycopg2-binary"]),
    ("postgresql", "psycopg2-cursor", "postgresql", ["psycopg2-binary"]),
    ("postgresql", "pg8000", "postgresql", ["pg8000"]),
    ("postgresql", "pg8000-cursor", "postgresql", ["pg8000"]),
    ("postgresql", "django", "postgresql", ["django"]),
]


def check(record: Record, seen: dict[str, object]) -> None:
    assert record.row(str(seen.pop("made"))) == ("ada", exercise.ODD_URL, "default", "upload", "pending")
    assert record.row(str(seen.pop("kept"))) == ("ada", exercise.ODD_URL, "default", "backfill", "pending")
    scored = seen.pop("scored")
    assert isinstance(scored, dict)
    assert datetime.fromisoformat(scored.pop("scored_at")).utcoffset() == timedelta(0)
    assert scored == {
        "image_id": "scored-1",
        "account_id": "ada",
        "state": "scored",
        "score": 0.9,
        "flagged": True,
        "threshold": 0.5,
        "model": "first",
        "reason": None,
        "case_state": "open",
    }
    assert seen == {
        "lost is found": False,
        "ids are kept": True,
        "conflict": "image 'KEPT' is known with another url: an id stands for one photo",
        "pending": {
            "account_id": "ada",
            "state": "pending",
            "score": None,
            "flagged": None,
            "threshold": 0.5,
            "model": None,
            "reason": None,
            "scored_at": None,
            "case_state": None,
        },
    }


def driver_url(record: Record, kind: str) -> str:
    """With SQLAlchemy the name of the driver that we have; a driver alone knows no such names."""
    alchemy = kind.removeprefix("async-") in ("session", "scoped-session", "connection", "raw-connection")
    return record.url.replace("postgresql:", "postgresql+psycopg:") if alchemy else record.url


@pytest.mark.both
@pytest.mark.parametrize(("record", "kind"), HERE, indirect=["record"])
def test_every_kind_of_connection_enqueues_in_its_transaction_and_reads_results(record: Record, kind: str) -> None:
    check(record, exercise.exercise(kind, driver_url(record, kind), record.schema))


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder below which packages are installed, a folder for each list of them."""
    return tmp_path_factory.mktemp("packages")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("record", "kind", "scheme", "names"), ELSEWHERE, indirect=["record"])
def test_sqlalchemy_1_4_django_and_other_drivers_do_the_same(
    record: Record, packages: Path, kind: str, scheme: str, names: list[str]
) -> None:
    folder = installing.pip(packages / "-".join(names).replace("<", ""), *names)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(CLIENT)])}
    url = record.url.replace(record.url.partition(":")[0], scheme, 1)
    done = subprocess.run(
        [sys.executable, exercise.__file__, kind, url, record.schema],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check(record, json.loads(done.stdout))


def test_two_uploads_of_one_photo_at_once_are_one_row(record: Record) -> None:
    engine = create_engine(driver_url(record, "session"))
    image_id = f"twice-{uuid.uuid4()}"
    for _ in range(2):
        with Session(engine) as session, session.begin():
            enqueue(session, account_id="ada", url="twice.jpg", image_id=image_id, schema=record.schema)
    engine.dispose()
    assert record.row(image_id) is not None


@pytest.mark.parametrize("other", [{"account_id": "bob"}, {"url": "other.jpg"}])
def test_an_id_stands_for_one_photo(record: Record, other: dict[str, str]) -> None:
    words = {"account_id": "ada", "url": "scored.jpg", "image_id": "scored-1"} | other
    engine = create_engine(driver_url(record, "session"))
    with Session(engine) as session, pytest.raises(ConflictError, match=f"another {next(iter(other))}") as caught:
        enqueue(session, schema=record.schema, **words)
    engine.dispose()
    assert isinstance(caught.value, UnmaskError)


def test_a_policy_that_nobody_added_is_refused_by_the_database(record: Record) -> None:
    engine = create_engine(driver_url(record, "session"))
    with Session(engine) as session, pytest.raises(IntegrityError, match="unmask policy add"):
        enqueue(session, account_id="ada", url="a.jpg", policy="unheard-of", schema=record.schema)
    engine.dispose()


def test_a_photo_that_nobody_enqueued_has_no_result(record: Record) -> None:
    engine = create_engine(driver_url(record, "session"))
    with Session(engine) as session:
        assert result(session, "unheard-of", schema=record.schema) is None
    engine.dispose()


WRONG_WORDS = [
    ({"account_id": ""}, r"account_id must have 1 to 128 characters, and has 0: ''"),
    ({"account_id": "a" * 129}, r"account_id must have 1 to 128 characters, and has 129: 'aaa"),
    ({"account_id": 17}, r"account_id must be text, not int"),
    ({"image_id": "a\nb"}, r"image_id must be without control characters: 'a\\nb'"),
    ({"image_id": "\x1b[2J"}, r"image_id must be without control characters: '\\x1b\[2J'"),
    ({"image_id": "a\0"}, r"image_id must be without control characters"),
    ({"image_id": "\ud800"}, r"image_id must be without control characters: '\\ud800'"),
    ({"image_id": ""}, r"image_id must have 1 to 128 characters, and has 0"),
    ({"url": ""}, r"url must have 1 to 4096 characters, and has 0"),
    ({"url": "u" * 300_000_000}, r"url must have 1 to 4096 characters, and has 300000000: 'u{80}'"),
    ({"url": "a\u2028b"}, r"url must be without control characters"),
    ({"policy": "p" * 129}, r"policy must have 1 to 128 characters, and has 129"),
    ({"lane": "express"}, r"lane must be one of upload, backfill: 'express'"),
    ({"schema": 'unmask"; DROP'}, r"schema must be the name of a PostgreSQL schema"),
]


@pytest.mark.parametrize(("words", "message"), WRONG_WORDS, ids=range(len(WRONG_WORDS)))
def test_a_wrong_word_is_refused_before_anything_is_sent(words: dict[str, Any], message: str) -> None:
    engine = create_engine("sqlite://")  # without any table: a statement would fail otherwise
    with Session(engine) as session, pytest.raises(ValueError, match=message) as caught:
        enqueue(session, **({"account_id": "ada", "url": "a.jpg"} | words))
    engine.dispose()
    assert len(str(caught.value)) < 200


class _Asyncpg:
    """Stands for a connection that is awaited and is not SQLAlchemy's."""

    async def execute(self, *_: object) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    "conn", [None, "postgresql://", _Asyncpg(), object()], ids=["none", "url", "awaited", "object"]
)
def test_what_is_no_connection_is_refused_by_name(conn: object) -> None:
    with pytest.raises(TypeError, match=r"conn must be a SQLAlchemy Session, .*, not .*\.") as caught:
        enqueue(conn, account_id="ada", url="a.jpg")
    assert type(conn).__qualname__ in str(caught.value)


def test_the_limits_are_those_of_the_record() -> None:
    assert (photo.MAX_ID, photo.MAX_URL, photo.LANES) == (ID_LENGTH, client.MAX_URL, LANES)
