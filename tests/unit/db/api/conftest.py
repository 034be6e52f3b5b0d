"""The HTTP door on the test's database."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from db.store.session import Database
from tests.unit.db.api.doors import Door, Serve, make_key, running


@pytest.fixture
def serve(database: Database) -> Iterator[Serve]:
    """``serve(api_max_requests=1)``: a door with these settings, and a client with all scopes."""
    doors = []

    def start(key: str | None = None, **settings: Any) -> Door:
        door = running(database, key or make_key(database), **settings)
        doors.append(door)
        return door.__enter__()

    yield start
    for door in doors:
        door.__exit__(None, None, None)


@pytest.fixture
def door(serve: Serve) -> Door:
    """A door with the usual settings."""
    return serve()


@pytest.fixture
def rows(database: Database) -> Callable[[str], list[Any]]:
    """``rows("SELECT id FROM images")``."""

    def read(statement: str) -> list[Any]:
        with database.reading() as session:
            return list(session.execute(text(statement)).all())

    return read
