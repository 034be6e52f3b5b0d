"""A database that cannot be used says so in one line, at once, and without its password."""

import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from db.errors import DatabaseError, DatabaseUnavailableError, DbError
from db.schema import Image
from db.store.session import Database, head

#: Nobody listens on this port: connections are refused.
NOBODY = "127.0.0.1:1"
pytestmark = pytest.mark.both  # databases can differ here


def test_a_transaction_commits_at_the_end_of_its_block(database: Database) -> None:
    with database.writing() as session:
        session.execute(insert(Image).values(id="a"))
    with database.reading() as session:
        assert session.scalars(select(Image.id)).all() == ["a"]


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    def write_and_fail() -> None:
        with database.writing() as session:
            session.execute(insert(Image).values(id="a"))
            raise ValueError("changed my mind")

    with pytest.raises(ValueError, match="changed my mind"):
        write_and_fail()
    with database.reading() as session:
        assert session.scalars(select(Image.id)).all() == []


def test_reading_never_commits(database: Database) -> None:
    with database.reading() as session:
        session.execute(insert(Image).values(id="a"))
    with database.reading() as session:
        assert session.scalars(select(Image.id)).all() == []


def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    with database.writing() as writer:
        writer.execute(insert(Image).values(id="a"))
        with database.reading() as reader:
            assert reader.scalars(select(Image.id)).all() == []


def test_checking_the_schema_does_not_wait_for_a_writer(database: Database) -> None:
    start = time.monotonic()
    with database.writing() as writer:
        writer.execute(insert(Image).values(id="a"))
        database.check_schema()
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_postgresql_that_is_away_is_one_line_at_once_and_without_its_password(scheme: str) -> None:
    start = time.monotonic()
    with pytest.raises(DatabaseError) as caught:
        Database(f"{scheme}://ada:s3cret@{NOBODY}/unmask").check_schema()
    assert time.monotonic() - start < 20
    assert "\n" not in str(caught.value)
    assert f"ada:***@{NOBODY}/unmask" in str(caught.value)
    assert "refused" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://ada:s3cret@host/unmask", "mysql is not supported: sqlite or postgresql"),
        ("postgresql+psycopg2://ada:s3cret@host/unmask", r"postgresql\+psycopg2 is not supported"),
        ("postgresql+nonsense://ada:s3cret@host/unmask", r"postgresql\+nonsense is not supported"),
        ("sqlite+aiosqlite:///unmask.db", r"sqlite\+aiosqlite is not supported"),
        ("postgresql://ada:part@host:s3cret/unmask", "UNMASK_DATABASE_URL: is not a database URL"),
        ("unmask.db", "UNMASK_DATABASE_URL: is not a database URL"),
        ("", "UNMASK_DATABASE_URL: is not a database URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_one_line_without_its_password(url: str, message: str) -> None:
    with pytest.raises(DatabaseError, match=message) as caught:
        Database(url)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_password_among_the_options_is_not_shown_either() -> None:
    with pytest.raises(DatabaseError) as caught:
        Database(f"postgresql://{NOBODY}/unmask?user=ada&password=s3cret").check_schema()
    assert "s3cret" not in str(caught.value)
    assert "user=ada" in str(caught.value)


def test_an_sqlite_file_that_does_not_exist_is_one_line_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"missing/unmask.db does not exist: run `unmask db upgrade`$"):
        Database(f"sqlite:///{tmp_path}/missing/unmask.db").check_schema()
    assert not (tmp_path / "missing").exists()


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "unmask.db").write_bytes(b"not a database, " * 100)
    database = Database(f"sqlite:///{tmp_path}/unmask.db")
    with pytest.raises(DatabaseError, match=r"file is not a database$"):
        database.check_schema()
    database.close()


def test_a_database_without_our_schema_says_what_to_run(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(DatabaseError, match=r"(has schema none, not \d+|does not exist): run `unmask db upgrade`"):
        database.check_schema()
    with pytest.raises(DatabaseError, match=r"images.*: run `unmask db upgrade`"), database.reading() as session:
        session.execute(select(Image.id))
    database.close()


def test_a_postgresql_without_this_database_is_not_told_to_upgrade_it(postgres_server: str) -> None:
    database = Database(postgres_server.replace("/postgres?", "/nowhere?"))
    with pytest.raises(DatabaseError, match=r'database "nowhere" does not exist$'):
        database.check_schema()


def test_what_a_constraint_refuses_is_one_line(database: Database) -> None:
    def write() -> None:
        with database.writing() as session:
            session.execute(insert(Image).values(id="a", state="lost"))

    with pytest.raises(DatabaseError, match="ck_images_state") as caught:
        write()
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, DbError)


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("foreign_keys", 1), ("synchronous", 1)])
def test_sqlite_keeps_a_journal_that_readers_do_not_wait_for_and_minds_its_keys(
    pragma: str, value: str | int, tmp_path: Path
) -> None:
    database = Database(f"sqlite:///{tmp_path}/unmask.db")
    with database.reading() as session:
        assert session.scalars(text(f"PRAGMA {pragma}")).one() == value
    database.close()


def test_a_connection_that_the_server_closed_while_it_was_idle_is_replaced(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(postgres_url)
    backend = _backend(database)
    _terminate(postgres_url, backend)
    monkeypatch.setattr("db.store.session._FRESH_S", 0.0)
    assert _backend(database) != backend
    database.close()


def test_what_is_new_or_was_just_used_is_not_asked_whether_it_is_there(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, asked = Database(postgres_url), list[object]()
    monkeypatch.setattr(database.engine.dialect, "do_ping", asked.append)
    assert _backend(database) == _backend(database)
    assert asked == []
    monkeypatch.setattr("db.store.session._FRESH_S", 0.0)
    _backend(database)
    assert len(asked) == 1
    database.close()


def test_one_that_was_just_used_is_away_once_and_then_replaced(postgres_url: str) -> None:
    database = Database(postgres_url)
    backend = _backend(database)
    _terminate(postgres_url, backend)
    with pytest.raises(DatabaseUnavailableError):
        _backend(database)
    assert _backend(database) != backend
    database.close()


def _backend(database: Database) -> int:
    with database.reading() as session:
        return int(session.scalars(text("SELECT pg_backend_pid()")).one())


def _terminate(url: str, backend: int) -> None:
    other = Database(url)
    with Session(other.engine) as session:
        assert session.scalars(text(f"SELECT pg_terminate_backend({backend}, 5000)")).one()
    other.close()


# A later schema


@pytest.mark.parametrize(("served", "refused"), [(True, False), (False, True)])
def test_a_later_schema_is_accepted_as_long_as_it_says_that_it_serves_this_software(
    fresh_database: Database, served: bool, refused: bool
) -> None:
    with fresh_database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        session.execute(text("INSERT INTO schema_support (revision) VALUES ('9999')"))
        if not served:
            session.execute(text(f"DELETE FROM schema_support WHERE revision = '{head()}'"))  # noqa: S608 - our own
    with pytest.raises(DatabaseError, match="has schema 9999") if refused else nullcontext():
        fresh_database.check_schema()


def test_an_older_schema_is_refused_though_it_serves_its_own_software(fresh_database: Database) -> None:
    with fresh_database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        session.execute(text("DELETE FROM schema_support"))
    with pytest.raises(DatabaseError, match="has schema 0001"):
        fresh_database.check_schema()


# Away, or not


def write(database: Database, statement: str) -> None:
    with database.writing() as session:
        session.execute(text(statement))


def test_a_database_that_nobody_answers_for_is_away() -> None:
    with pytest.raises(DatabaseUnavailableError):
        write(Database(f"postgresql://ada@{NOBODY}/unmask"), "SELECT 1")


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO images (id, state) VALUES ('a', 'lost')", "SELECT nonsense", "SELECT * FROM nowhere", "SELEKT"],
)
def test_a_mistake_is_no_absence(database: Database, statement: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        write(database, statement)
    assert not isinstance(caught.value, DatabaseUnavailableError)


def test_a_locked_sqlite_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.store.session.BUSY_TIMEOUT_S", 0.05)
    first, second = Database(f"sqlite:///{tmp_path}/unmask.db"), Database(f"sqlite:///{tmp_path}/unmask.db")
    with first.writing() as session:
        session.execute(text("CREATE TABLE a (b)"))
        with pytest.raises(DatabaseUnavailableError, match="locked"):
            write(second, "CREATE TABLE c (d)")
    first.close()
    second.close()


def test_a_full_sqlite_is_away(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/unmask.db")

    def fill() -> None:
        with database.writing() as session:
            session.execute(text("PRAGMA max_page_count = 2"))
            session.execute(text("CREATE TABLE a AS SELECT randomblob(100000)"))

    with pytest.raises(DatabaseUnavailableError, match="full"):
        fill()
    database.close()


def test_an_sqlite_that_may_only_be_read_is_away(tmp_path: Path) -> None:
    Database(f"sqlite:///{tmp_path}/unmask.db").upgrade()
    database = Database(f"sqlite:///file:{tmp_path}/unmask.db?mode=ro&uri=true")
    with pytest.raises(DatabaseUnavailableError, match="readonly"), database.reading() as session:
        session.execute(insert(Image).values(id="a"))
    database.close()


def test_a_postgresql_that_may_only_be_read_is_away(postgres_url: str) -> None:
    database = Database(postgres_url)
    database.upgrade()
    write(database, "ALTER ROLE CURRENT_USER SET default_transaction_read_only = on")
    database.close()  # the setting is a new connection's
    with pytest.raises(DatabaseUnavailableError, match="read-only"):
        write(database, "INSERT INTO images (id) VALUES ('a')")
    write(database, "SET TRANSACTION READ WRITE; ALTER ROLE CURRENT_USER RESET default_transaction_read_only")
    database.close()


def test_a_postgresql_that_ends_our_connection_is_away(postgres_url: str) -> None:
    database = Database(postgres_url)
    with pytest.raises(DatabaseUnavailableError, match="terminating"):
        write(database, "SELECT pg_terminate_backend(pg_backend_pid())")
    database.close()
