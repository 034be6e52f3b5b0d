"""Our tables lie in a schema of their own: beside an application's, and moved there from where they lay before."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.orm import Session

from db.errors import DatabaseError
from db.schema import Image
from db.store.session import Database, head

MIGRATIONS = Path(__file__).parents[4] / "db" / "migrations"
MODEL = "(name, sha256, preprocess, card, state) VALUES ('m', 'f', 'p', '{}', 'active')"
SCORE = "(image_id, version_id, score, engine, device) VALUES ('a', 1, 0.9, 'eager', 'cpu')"
IMAGE = "INSERT INTO images (id, account_id, url) VALUES ('a', 'account', 'a.jpg')"


@pytest.fixture
def url(postgres_server: str) -> Iterator[str]:
    """An empty PostgreSQL database with the search path that every database has: public."""
    name = f"own_{os.urandom(6).hex()}"
    admin = create_engine(Database(postgres_server).url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def plain(url: str) -> Iterator[Engine]:
    """The same database as any other application sees it."""
    engine = create_engine(Database(url).url)
    yield engine
    engine.dispose()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


def install_before_the_schema(engine: Engine) -> None:
    """The installation of revision 0010, in public, with one photo that has a score."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes |= {"connection": connection, "schema": None}
        command.upgrade(config, "0010")
        connection.execute(text(IMAGE))
        connection.execute(
            text(
                "INSERT INTO model_versions (name, sha256, preprocess, card, state) VALUES ('m','f','p','{}','active')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO scores (image_id, version_id, score, engine, device) VALUES ('a', 1, 0.9, 'eager', 'cpu')"
            )
        )


def test_all_tables_lie_in_the_schema_and_none_outside(database: Database, plain: Engine) -> None:
    database.upgrade()
    inspector = inspect(plain)
    assert inspector.get_table_names("public") == []
    assert {"images", "scores", "alembic_version"} <= set(inspector.get_table_names("unmask"))


def test_an_applications_tables_of_the_same_names_stay_as_they_are(database: Database, plain: Engine) -> None:
    with plain.begin() as connection:
        connection.execute(text("CREATE TABLE images (id serial PRIMARY KEY, caption text)"))
        connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('0007')"))
        connection.execute(text("INSERT INTO images (caption) VALUES ('theirs')"))
    assert database.upgrade() == (None, head())
    database.check_schema()
    with database.writing() as session:
        session.add(Image(id="a", account_id="account", url="a.jpg"))
    with plain.connect() as connection:
        assert connection.execute(text("SELECT caption FROM images")).scalars().all() == ["theirs"]
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["0007"]
        assert connection.execute(text("SELECT id FROM unmask.images")).scalars().all() == ["a"]


def test_an_installation_of_before_moves_with_its_data(database: Database, plain: Engine) -> None:
    install_before_the_schema(plain)
    with pytest.raises(DatabaseError, match=r"has schema 0010, not .*: run `unmask db upgrade`"):
        database.check_schema()
    assert database.upgrade() == ("0010", head())
    assert database.upgrade() == (head(), head())
    database.check_schema()
    with database.reading() as session:
        assert session.get_one(Image, "a").url == "a.jpg"
    assert inspect(plain).get_table_names("public") == []


def test_after_the_move_scores_are_still_append_only_and_numbered_on(database: Database, plain: Engine) -> None:
    install_before_the_schema(plain)
    database.upgrade()
    with pytest.raises(DatabaseError, match="scores are appended, never changed"), database.writing() as session:
        session.execute(text("UPDATE unmask.scores SET score = 0"))
    with database.writing() as session:
        session.add(Image(id="b", account_id="account", url="b.jpg"))
        session.flush()
        insert = "INSERT INTO unmask.scores (image_id, version_id, score, engine, device) VALUES ('b',1,0.1,'e','cpu')"
        session.execute(text(insert))
        assert session.execute(text("SELECT count(DISTINCT id) FROM unmask.scores")).scalar() == 2


def test_an_upload_flow_that_inserts_by_the_old_name_goes_on_through_the_move(
    database: Database, plain: Engine
) -> None:
    install_before_the_schema(plain)
    database.upgrade()
    with Session(plain) as session, session.begin():
        session.execute(text("INSERT INTO images (id, account_id, url) VALUES ('b', 'account', 'b.jpg')"))
        session.execute(
            text("INSERT INTO images (id, account_id, url) VALUES ('b', 'account', 'b.jpg') ON CONFLICT DO NOTHING")
        )
    with database.reading() as session:
        assert session.get_one(Image, "b").state == "pending"


def test_the_schema_has_the_name_that_the_setting_gives(url: str, plain: Engine) -> None:
    database = Database(url, schema="faces")
    database.upgrade()
    database.check_schema()
    assert "images" in inspect(plain).get_table_names("faces")
    assert not inspect(plain).has_schema("unmask")
    database.close()
