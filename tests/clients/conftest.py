"""A record of ours in an application's database, with one photo that was scored and flagged."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.schema import Image
from db.store.session import Database

#: Where our tables are in PostgreSQL.
UNMASK_SCHEMA = "unmask"
#: Where an application's own tables are in the same database.
APPLICATION_SCHEMA = "public"


@dataclass(frozen=True, slots=True)
class Record:
    """A database of ours, as an application finds it."""

    url: str
    schema: str
    database: Database

    def row(self, image_id: str) -> tuple[str | None, ...] | None:
        """An image as it was enqueued, or None."""
        with self.database.reading() as session:
            image = session.get(Image, image_id)
            return None if image is None else (image.account_id, image.url, image.policy, image.lane, image.state)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def record(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """Our record on both kinds of database. Tests share it, so each gives its images ids of their own."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('clients')}/unmask.db"
    else:
        url = _new_database(request.getfixturevalue("postgres_server"))
    database = Database(url)
    database.upgrade()
    _score_one(database)
    yield Record(url, UNMASK_SCHEMA, database)
    database.close()


def _new_database(server: str) -> str:
    name = f"clients_{os.urandom(6).hex()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.replace("/postgres?", f"/{name}?")


def _score_one(database: Database) -> None:
    """The image "scored-1": its score of 0.9 flags it at the threshold of 0.5, so its case is open."""
    with database.writing() as session:
        version = versions.register(session, "first", "1" * 64, "unmask-1", {"name": "first"})
        thresholds.set_value(session, version.id, "default", 0.5, "test", "")
        session.add(Image(id="scored-1", account_id="ada", url="scored.jpg"))
        session.flush()
        scored = Scored("scored-1", "default", 0.9, "f" * 64, 1000, 640, 480)
        scores.record(session, [scored], Provenance(version.id, "eager-fp32", "cpu"))
