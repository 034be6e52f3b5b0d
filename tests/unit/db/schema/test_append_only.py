"""Scores, thresholds and reviews are appended: the database itself refuses the rest, whoever asks."""

import contextlib
import sqlite3

import pytest
from sqlalchemy import delete, func, select, text

from db.errors import DatabaseError
from db.schema import AuditEntry, Expiry, Review, Score, Threshold
from db.store.session import Database, erasing

ROWS = (
    "INSERT INTO images (id, account_id, url) VALUES ('a', 'account', 'a.jpg')",
    "INSERT INTO model_versions (id, name, sha256, preprocess, card) VALUES (1, 'm', 'f', 'p', '{}')",
    "INSERT INTO scores (id, image_id, version_id, score, engine, device) VALUES (1, 'a', 1, 0.9, 'eager', 'cpu')",
    "INSERT INTO thresholds (id, policy, version_id, value, author, reason) VALUES (1, 'default', 1, 0.5, 'ada', '')",
    "INSERT INTO cases (id, account_id, policy) VALUES (1, 'account', 'default')",
    "INSERT INTO reviews (id, case_id, reviewer, decision, blind) VALUES (1, 1, 'ada', 'dismissed', true)",
    "INSERT INTO audit_log (id, who, what) VALUES (1, 'ada', 'viewed')",
    "INSERT INTO expiries (id, threshold_id, policy, evidence, detail) VALUES (1, 1, 'default', 'drift', 'x')",
)
#: A sample and its verdict, which refer to the rows above.
SAMPLE = (
    "INSERT INTO draws VALUES (1, 'default', 1, 1, 'flagged', 0.5, 1.0, '2026-01-01', '2026-01-02', 1, 1, 'ada', '')",
    "INSERT INTO samples (id, draw_id, image_id, score_id, probability) VALUES (1, 1, 'a', 1, 1.0)",
    "INSERT INTO verdicts (id, sample_id, reviewer, verdict) VALUES (1, 1, 'ada', 'real')",
)
#: Rows that would take another's place, by each of a table's keys.
REPLACING = {
    "scores": (
        "(id, image_id, version_id, score, engine, device) VALUES (1, 'a', 1, 0.1, 'eager', 'cpu')",
        "(image_id, version_id, score, engine, device) VALUES ('a', 1, 0.1, 'eager', 'cpu')",
    ),
    "thresholds": ("(id, policy, version_id, value, author, reason) VALUES (1, 'default', 1, 0.1, 'eve', '')",),
    "reviews": ("(id, case_id, reviewer, decision, blind) VALUES (1, 1, 'eve', 'confirmed', true)",),
    "verdicts": (
        "(id, sample_id, reviewer, verdict) VALUES (1, 1, 'eve', 'fake')",
        "(sample_id, reviewer, verdict) VALUES (1, 'ada', 'fake')",
    ),
    "audit_log": ("(id, who, what) VALUES (1, 'eve', 'viewed')",),
    "expiries": (
        "(id, threshold_id, policy, evidence, detail) VALUES (1, 1, 'vip', 'drift', 'y')",
        "(threshold_id, policy, evidence, detail) VALUES (1, 'default', 'drift', 'y')",
    ),
}
CHANGES = {
    "scores": "score = 0.1",
    "thresholds": "value = 0.9",
    "reviews": "decision = 'confirmed'",
    "audit_log": "who = 'bob'",
    "expiries": "detail = 'y'",
}
TABLES = [Score, Expiry, Threshold, Review, AuditEntry]
pytestmark = pytest.mark.both  # databases can differ here


@pytest.fixture
def full(database: Database) -> Database:
    with database.writing() as session:
        for row in ROWS:
            session.execute(text(row))
    return database


def refused(database: Database, statement: str) -> str:
    with pytest.raises(DatabaseError) as caught, database.writing() as session:
        session.execute(text(statement))
    return str(caught.value)


@pytest.mark.parametrize("table", CHANGES)
def test_what_was_written_is_neither_changed_nor_deleted(full: Database, table: str) -> None:
    said = f"{table} are appended, never changed"
    assert said in refused(full, f"UPDATE {table} SET {CHANGES[table]}")  # noqa: S608 - our own names
    assert said in refused(full, f"DELETE FROM {table}")  # noqa: S608


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_was_written_is_not_truncated_either(fresh_database: Database) -> None:
    for table in CHANGES:
        assert "appended, never changed" in refused(fresh_database, f"TRUNCATE {table} CASCADE")


@pytest.mark.parametrize("default", [True, False], ids=["an ordinary client", "our connections"])
@pytest.mark.parametrize("table", ["scores", "thresholds", "reviews", "verdicts", "audit_log", "expiries"])
def test_nothing_is_replaced_in_sqlites_own_way(full: Database, table: str, *, default: bool) -> None:
    if full.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL has no OR REPLACE")
    connection = sqlite3.connect(str(full.url.database))
    connection.execute(f"PRAGMA recursive_triggers = {'OFF' if default else 'ON'}")
    with connection:
        for row in SAMPLE:
            connection.execute(row)
    before = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - our own names
    assert before
    for replacing in REPLACING[table]:
        with connection, contextlib.suppress(sqlite3.IntegrityError):  # an existing score is passed over in silence
            connection.execute(f"INSERT OR REPLACE INTO {table} {replacing}")
    assert connection.execute(f"SELECT * FROM {table}").fetchall() == before  # noqa: S608 - the same
    connection.close()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__tablename__)
def test_retentions_pass_opens_for_one_transaction_and_only_for_deleting(full: Database, table: type[Score]) -> None:
    with pytest.raises(DatabaseError), full.writing() as session, erasing(session):
        session.execute(text(f"UPDATE {table.__tablename__} SET {CHANGES[table.__tablename__]}"))  # noqa: S608
    with full.writing() as session, erasing(session):
        session.execute(delete(Expiry))  # it refers to its threshold
        session.execute(delete(table))
    assert count(full, table) == 0
    with full.writing() as session:
        assert session.scalar(text("SELECT count(*) FROM retention_pass")) == 0


@pytest.mark.parametrize(
    "change", ["note = 'y'", "note = NULL, decision = 'confirmed'", "note = NULL, undoes = 1", "note = NULL, id = 3"]
)
def test_the_pass_lets_a_reviews_note_go_and_nothing_else_of_it(full: Database, change: str) -> None:
    with full.writing() as session:
        session.add(Review(id=2, case_id=1, reviewer="ada", decision="dismissed", blind=False, note="x"))
    assert "reviews are appended" in refused(full, "UPDATE reviews SET note = NULL")
    with pytest.raises(DatabaseError, match="appended"), full.writing() as session, erasing(session):
        session.execute(text(f"UPDATE reviews SET {change} WHERE id = 2"))  # noqa: S608 - our own words
    with full.writing() as session, erasing(session):
        session.execute(text("UPDATE reviews SET note = NULL"))
    with full.reading() as session:
        rows = select(Review.id, Review.note, Review.decision).order_by(Review.id)
        assert session.execute(rows).all() == [(1, None, "dismissed"), (2, None, "dismissed")]


def test_another_transaction_does_not_see_the_pass(full: Database) -> None:
    if full.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    with full.writing() as session, erasing(session):
        assert "scores are appended" in refused(full, "DELETE FROM scores")


def test_a_temporary_table_of_that_name_opens_nothing(full: Database) -> None:
    if full.engine.dialect.name == "sqlite":
        pytest.skip("whoever opens an SQLite file may do with it what he likes")
    mine = "CREATE TEMPORARY TABLE retention_pass AS SELECT 'mine' AS name"
    assert "scores are appended" in refused(full, mine + "; DELETE FROM scores")  # noqa: S608


def count(database: Database, table: type[Score]) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_the_guard_is_sqlites_own_and_not_our_connections(full: Database) -> None:
    if full.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's are not ours either")
    with sqlite3.connect(str(full.url.database)) as connection, pytest.raises(sqlite3.IntegrityError, match="appended"):
        connection.execute("DELETE FROM scores")
    connection.close()
