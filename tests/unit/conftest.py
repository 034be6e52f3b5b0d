"""One database of each kind for all unit tests: to empty it is ten times as quick as to make another."""

import os
from collections.abc import Iterator

import pytest
from sqlalchemy import delete, text

from db.schema import Base, Policy
from db.store.session import Database, erasing


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with our schema, and with whatever the last test left in it."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path_factory.mktemp('unit')}/unmask.db")
    else:
        server: str = request.getfixturevalue("postgres_server")
        name = f"unit_{os.urandom(6).hex()}"  # made again when tests of another kind came between
        _create_database(server, name)
        database = Database(server.replace("/postgres?", f"/{name}?"))
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def database(migrated: Database) -> Database:
    """An empty database with our schema, on both kinds; for tests that leave the schema as it is."""
    with migrated.writing() as session, erasing(session):
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(delete(table))
        session.add(Policy(name="default", created_by="test"))
    return migrated


@pytest.fixture
def fresh_database(database_url: str) -> Iterator[Database]:
    """The same, but its own: for tests that change the schema."""
    database = Database(database_url)
    database.upgrade()
    yield database
    database.close()


def _create_database(server: str, name: str) -> None:
    admin = Database(server)
    with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        connection.execute(text(f"ALTER DATABASE {name} SET search_path = unmask, public"))  # for tests' own SQL
    admin.close()
