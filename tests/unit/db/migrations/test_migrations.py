"""The migrations make the schema that the code believes in, on both databases, and can be undone."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.orm import Session

from db.errors import DatabaseError
from db.schema import Base, Image
from db.store.session import Database, head
from db.work import images

ROOT = Path(__file__).parents[4]

#: A row for every table, in an order that foreign keys allow.
ROWS = {
    "policies": "(name, created_by) VALUES ('vip', 'ada')",
    "images": "(id, account_id, url) VALUES ('a', 'account', 'a.jpg')",
    "model_versions": "(id, name, sha256, preprocess, card, state) VALUES (1, 'm', 'f', 'p', '{}', 'active')",
    "scores": "(id, image_id, version_id, score, engine, device) VALUES (1, 'a', 1, 0.9, 'eager', 'cpu')",
    "thresholds": "(id, policy, version_id, value, author, reason) VALUES (1, 'default', 1, 0.5, 'ada', '')",
    "cases": "(id, account_id, policy) VALUES (1, 'account', 'default')",
    "flags": "(case_id, image_id, score_id, threshold_id) VALUES (1, 'a', 1, 1)",
    "signals": "(image_id, kind, value, place, trust) VALUES ('a', 'provenance.ai', 'x', 'y', 'unsigned')",
    "projections": f"(image_id, version_id, kind, projection) VALUES ('a', 1, 'high', '{'x' * 64}')",
    "looks": "(image_id, hash, mirrored) VALUES ('a', 'x', 'y')",
    "reviews": "(id, case_id, reviewer, decision, blind) VALUES (1, 1, 'ada', 'dismissed', true)",
    "appeals": "(case_id, review_id, author) VALUES (1, 1, 'ada')",
    "draws": "(id, policy, version_id, threshold_id, stratum, low, high, since, until, population, drawn, author) "
    "VALUES (1, 'default', 1, 1, 'flagged', 0.5, 1.0, '2026-01-01', '2026-01-02', 1, 1, 'ada')",
    "samples": "(id, draw_id, image_id, score_id, probability) VALUES (1, 1, 'a', 1, 1.0)",
    "verdicts": "(sample_id, reviewer, verdict) VALUES (1, 'ada', 'real')",
    "golden_items": "(sample_id, verdict, author) VALUES (1, 'real', 'lee')",
    "golden_shares": "(share, author) VALUES (0.1, 'lee')",
    "saved_views": "(name, author, query) VALUES ('vip', 'ada', 'policy=vip')",
    "webhook_switch": "(name) VALUES ('on')",
    "deliveries": "(case_id, version, event) VALUES (1, 1, 'opened')",
    "retention_pass": "(name) VALUES ('retention')",
    "previews": "(image_id, kind) VALUES ('a', 'photo')",
    "requests": "(kind, image_id, author) VALUES ('heatmap', 'a', 'ada')",
    "promotions": "(kind, from_version_id, to_version_id, last_score_id, opened, withdrawn, author, reason) "
    "VALUES ('promote', 1, 1, 1, 0, 0, 'ada', '')",
    "reference_sets": "(name, version_id, reals, scores, source, digest, author) VALUES ('r', 1, 0, '', '', '', 'ada')",
    "pauses": "(what, paused, author, reason) VALUES ('flagging', true, 'ada', '')",
    "rescores": "(version_id, rate_per_s, author) VALUES (1, 1.0, 'ada')",
    "api_keys": "(name, sha256, scopes, policy, created_by) VALUES ('app', 'f', 'read', 'vip', 'ada')",
    "uploads": "(image_id, data) VALUES ('a', 'x')",
    "locks": "(name, owner, until, beat) VALUES ('sweeper', 'me', '2026-01-01', '2026-01-01')",
    "schema_support": "(revision) VALUES ('0000')",
    "people": "(id, name, role) VALUES (1, 'ada', 'lead')",
    "sign_ins": "(digest, person_id, expires_at) VALUES ('f', 1, '2026-01-01')",
    "identities": "(issuer, subject, person_id, role) VALUES ('https://id.example.com', 'ada-1', 1, 'lead')",
    "sign_in_links": "(digest, person_id, expires_at) VALUES ('f', 1, '2026-01-01')",
    "sign_in_tries": "(name, address) VALUES ('ada', '127.0.0.1')",
    "known_addresses": "(person_id, address) VALUES (1, '127.0.0.1')",
    "comments": "(case_id, author, text) VALUES (1, 'ada', 'see the ear')",
    "restrictions": "(case_id, author, reason) VALUES (1, 'ada', 'minor')",
    "account_facts": "(account_id, facts) VALUES ('account', '{}')",
    "note_templates": "(name, note, author) VALUES ('ear', 'see the ear', 'ada')",
    "picture_defaults": "(policy, pictures, author) VALUES ('', 'grey', 'ada')",
    "audit_log": "(who, what, case_id) VALUES ('ada', 'viewed', 1)",
    "expiries": "(threshold_id, policy, evidence, detail) VALUES (1, 'default', 'drift', '')",
}
#: Tables that the first schema had not.
NEWER = (
    "locks", "schema_support", "promotions", "reference_sets", "pauses", "rescores", "retention_pass", "looks",
    "appeals", "draws", "samples", "verdicts", "webhook_switch", "deliveries",
    "people", "sign_ins", "sign_in_links", "sign_in_tries", "known_addresses", "audit_log",
    "policies", "api_keys", "uploads", "expiries", "signals",
    "golden_items", "golden_shares", "saved_views", "identities",
    "comments", "restrictions", "account_facts", "note_templates", "picture_defaults",
    "projections",
)  # fmt: skip

pytestmark = pytest.mark.both  # databases can differ here


@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression")  # SQLite has none of ours
def test_the_migrated_schema_is_the_codes(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_migrated_schema_has_the_codes_constraints_and_defaults_too(fresh_database: Database) -> None:
    """What alembic does not compare: the same questions to a schema that the code makes itself."""
    with fresh_database.engine.begin() as connection:
        migrated = _described(connection)
        _downgrade(connection)
        Base.metadata.create_all(connection)
        assert migrated == _described(connection)
        assert sorted(migrated) == sorted(ROWS)


def test_an_upgrade_says_from_where_to_where_and_repeats_safely(database_url: str) -> None:
    database = Database(database_url)
    assert database.upgrade() == (None, head())
    assert database.upgrade() == (head(), head())
    database.check_schema()
    database.close()


def test_a_downgrade_leaves_nothing_whatever_lies_in_the_tables(fresh_database: Database) -> None:
    with fresh_database.writing() as session:
        for table, row in ROWS.items():
            session.execute(text(f"INSERT INTO {table} {row}"))
    with fresh_database.engine.begin() as connection:
        _downgrade(connection)
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    assert fresh_database.upgrade() == (None, head())


def test_what_lies_in_the_first_schema_survives_the_way_forward_and_back(database_url: str) -> None:
    database = Database(database_url)
    with database.engine.begin() as connection:
        _move(connection, command.upgrade, "0001")
    old = [table for table in ROWS if table not in NEWER]
    with database.writing() as session:
        for table in old:
            session.execute(text(f"INSERT INTO {table} {ROWS[table]}"))
    database.upgrade()
    with database.reading() as session:
        assert session.execute(text("SELECT attempts, losses, sends FROM images")).all() == [(0, 0, 0)]
        assert _counts(session, old) == dict.fromkeys(old, 1)
    with database.engine.begin() as connection:
        _move(connection, command.downgrade, "0001")
    with database.reading() as session:
        assert _counts(session, old) == dict.fromkeys(old, 1)
    database.close()


def test_policies_in_use_before_they_had_names_are_known_afterwards(database_url: str) -> None:
    database = Database(database_url)
    with database.engine.begin() as connection:
        _move(connection, command.upgrade, "0010")
        connection.execute(text("INSERT INTO images (id, policy) VALUES ('a', 'vip'), ('b', 'default')"))
        connection.execute(text(f"INSERT INTO model_versions {ROWS['model_versions']}"))
        row = ROWS["thresholds"].replace("'default'", "'strict'")
        connection.execute(text(f"INSERT INTO thresholds {row}"))
    database.upgrade()
    with database.reading() as session:
        known = session.scalars(text("SELECT name FROM policies ORDER BY name")).all()
        assert known == ["default", "strict", "vip"]
        assert session.scalars(text("SELECT DISTINCT lane FROM images")).all() == ["upload"]
    database.close()


def test_photos_at_fault_become_unusable_and_what_refers_to_them_stays(database_url: str) -> None:
    database = Database(database_url)
    with database.engine.begin() as connection:
        _move(connection, command.upgrade, "0012")
    states = {"a": ("not_scorable", "too_small"), "b": ("failed", "truncated"), "c": ("failed", "timeout")}
    with database.writing() as session:
        for name, (state, reason) in states.items():
            row = f"('{name}', 'account', 'a.jpg', '{state}', '{reason}')"
            session.execute(text(f"INSERT INTO images (id, account_id, url, state, reason) VALUES {row}"))  # noqa: S608 - our own
        session.execute(text("INSERT INTO uploads (image_id, data) VALUES ('c', 'bytes')"))
    database.upgrade()
    with database.writing() as session:
        found = session.execute(text("SELECT id, state FROM images ORDER BY id")).all()
        assert found == [("a", "unusable"), ("b", "unusable"), ("c", "failed")]
        assert _counts(session, ["uploads"]) == {"uploads": 1}
        session.execute(text("UPDATE images SET state = 'unusable' WHERE id = 'c'"))
        assert _counts(session, ["uploads"]) == {"uploads": 0}
    with database.engine.begin() as connection:
        _move(connection, command.downgrade, "0012")
    with database.reading() as session:
        found = session.execute(text("SELECT id, state FROM images ORDER BY id")).all()
        assert found == [(name, "not_scorable") for name in states]
    database.close()


def test_a_state_that_does_not_exist_is_refused_and_the_old_word_is_translated_on_postgresql(
    database: Database,
) -> None:
    with database.writing() as session:
        session.execute(text(f"INSERT INTO images {ROWS['images']}"))
    with pytest.raises(DatabaseError, match="ck_images_state"), database.writing() as session:
        session.execute(text("UPDATE images SET state = 'lost'"))
    old_word = text("UPDATE images SET state = 'not_scorable'")
    if database.url.get_backend_name() == "sqlite":
        with pytest.raises(DatabaseError, match="ck_images_state"), database.writing() as session:
            session.execute(old_word)
        return
    with database.writing() as session:
        session.execute(old_word)
        assert session.scalar(text("SELECT state FROM images")) == "unusable"


def test_upgrades_that_start_together_all_succeed(database_url: str) -> None:
    program = "import sys; from db.store.session import Database; Database(sys.argv[1]).upgrade()"
    running = [_start([sys.executable, "-c", program, database_url]) for _ in range(2)]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in running] == [("", 0)] * 2


def test_alembics_own_command_upgrades_the_database_of_the_settings(database_url: str) -> None:
    process = _start([sys.executable, "-m", "alembic", "upgrade", "head"], UNMASK_DATABASE_URL=database_url)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    database = Database(database_url)
    database.check_schema()
    database.close()


def _downgrade(connection: Connection) -> None:
    _move(connection, command.downgrade, "base")


def _move(connection: Connection, way: Callable[[Config, str], None], revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "db" / "migrations"))
    schema = "unmask" if connection.dialect.name == "postgresql" else None
    config.attributes |= {"connection": connection, "schema": schema}
    way(config, revision)


def _counts(session: Session, tables: Sequence[str]) -> dict[str, int]:
    return {table: session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables}  # noqa: S608 - our own


def _described(connection: Connection) -> dict[str, Any]:
    """Every table's columns, keys, indexes and constraints, comparable."""
    inspector = inspect(connection)
    return {
        table: {
            "columns": _sorted(column | {"type": repr(column["type"])} for column in inspector.get_columns(table)),
            "primary key": inspector.get_pk_constraint(table),
            "foreign keys": _sorted(inspector.get_foreign_keys(table)),
            "unique": _sorted(inspector.get_unique_constraints(table)),
            "checks": _sorted(inspector.get_check_constraints(table)),
            "indexes": _sorted(_plain(index) for index in inspector.get_indexes(table)),
        }
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def _sorted(found: Any) -> list[Any]:
    return sorted(found, key=lambda item: str(item["name"]))


def _plain(index: Any) -> dict[str, Any]:
    """An index with its condition as text."""
    return dict(index) | {"dialect_options": {key: str(value) for key, value in index["dialect_options"].items()}}


def _start(arguments: list[str], **settings: str) -> subprocess.Popen[str]:
    environ = os.environ | settings
    return subprocess.Popen(arguments, cwd=ROOT, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


#: Rows of before the limits, as SQL: id, what is odd, and the state in which the upgrade leaves the row.
_ODD_BEFORE = {
    "'escape' || chr(27)": ("'account', 'a.jpg'", "failed"),
    "'account'": ("'a' || chr(10) || 'b', 'a.jpg'", "failed"),
    "'empty'": ("'account', ''", "failed"),
    "'long'": ("'account', {long}", "failed"),
    "'good'": ("'account', 'good.jpg'", "pending"),
    "'erased'": ("NULL, NULL", "pending"),
}
_ODD_ON_SQLITE = {
    "x'6f6464'": ("'account', 'a.jpg'", "failed"),
    "CAST(x'6f6464e9' AS TEXT)": ("'account', 'a.jpg'", "failed"),
    "'blob'": ("x'61', 'a.jpg'", "failed"),
    "'nul'": ("'account', 'a' || char(0) || 'b'", "failed"),
}


def test_rows_of_before_the_limits_fail_visibly_and_the_rest_goes_on(database_url: str) -> None:
    database = Database(database_url)
    sqlite = database.url.get_backend_name() == "sqlite"
    with database.engine.begin() as connection:
        _move(connection, command.upgrade, "0015")
    rows = _ODD_BEFORE | (_ODD_ON_SQLITE if sqlite else {})
    long = "'" + "x" * 20_000 + "'"
    with database.writing() as session:
        for name, (values, _) in rows.items():
            row = f"{name}, {values}".format(long=long)
            row = row.replace("chr(", "char(") if sqlite else row
            session.connection().exec_driver_sql(f"INSERT INTO images (id, account_id, url) VALUES ({row})")  # noqa: S608 - our own
        far, many = ("'whenever'", "'many'") if sqlite else ("'infinity'", "2147483647")
        sound = "('times', 'account', 'a.jpg', {0}, 0), ('counts', 'account', 'a.jpg', '2026-01-01', {1})"
        columns = "(id, account_id, url, created_at, attempts)"
        session.connection().exec_driver_sql(f"INSERT INTO images {columns} VALUES {sound.format(far, many)}")  # noqa: S608 - our own
        old = "('old' || chr(27), NULL, NULL, 'scored')"
        old = old.replace("chr(", "char(") if sqlite else old
        session.connection().exec_driver_sql(f"INSERT INTO images (id, account_id, url, state) VALUES {old}")  # noqa: S608 - our own
    assert database.upgrade() == ("0015", head())
    with database.reading() as session:
        found = session.scalars(select(Image).order_by(Image.created_at)).all()
        states = Counter(image.state for image in found)
        assert states == Counter([state for _, state in rows.values()] + ["pending"] * 2 + ["scored"])
        failed = [image for image in found if image.state == "failed"]
        assert {image.reason for image in failed} == {"odd_row"}
        assert max(len(f"{image.id}{image.account_id}{image.url}") for image in found) < 500
    with database.writing() as session:
        every = [image.id for image in found if image.state == "pending"]
        assert {job.image_id for job in images.lease(session, every, "me", 60)} == {"good", "erased", "times", "counts"}
        session.execute(text("UPDATE images SET account_id = NULL, url = NULL WHERE state = 'scored'"))
        assert _unvalidated(session) == []
    database.close()


def _unvalidated(session: Session) -> list[str]:
    if session.get_bind().dialect.name == "sqlite":
        return []
    return list(session.scalars(text("SELECT conname FROM pg_constraint WHERE NOT convalidated")))


@pytest.mark.parametrize("value", ["'NaN'", "'Infinity'", "-0.1", "1.5"])
@pytest.mark.parametrize("column", ["measured_fpr", "target_fpr", "fpr_low", "fpr_high", "value"])
def test_rates_and_scores_are_numbers_between_0_and_1(database: Database, column: str, value: str) -> None:
    with database.writing() as session:
        session.execute(text(f"INSERT INTO model_versions {ROWS['model_versions']}"))
    names, values = "policy, version_id, value, author, reason", "'default', 1, 0.5, 'ada', ''"
    if column == "value":
        values = values.replace("0.5", value)
    else:
        names, values = f"{names}, {column}", f"{values}, {value}"
    with pytest.raises(DatabaseError, match="ck_thresholds_"), database.writing() as session:
        session.execute(text(f"INSERT INTO thresholds ({names}) VALUES ({values})"))  # noqa: S608 - our own
