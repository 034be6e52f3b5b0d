"""The migrations make the schema that the code believes in, on both databases, and can be undone."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from sqlalchemy.orm import Session

from db.schema import Base
from db.store.session import Database, head

ROOT = Path(__file__).parents[3]

#: A row for every table, in an order that foreign keys allow.
ROWS = {
    "images": "(id, account_id, url) VALUES ('a', 'account', 'a.jpg')",
    "model_versions": "(id, name, sha256, preprocess, card, state) VALUES (1, 'm', 'f', 'p', '{}', 'active')",
    "scores": "(id, image_id, version_id, score, engine, device) VALUES (1, 'a', 1, 0.9, 'eager', 'cpu')",
    "thresholds": "(id, policy, version_id, value, author, reason) VALUES (1, 'default', 1, 0.5, 'ada', '')",
    "cases": "(id, account_id, policy) VALUES (1, 'account', 'default')",
    "flags": "(case_id, image_id, score_id, threshold_id) VALUES (1, 'a', 1, 1)",
    "looks": "(image_id, hash, mirrored) VALUES ('a', 'x', 'y')",
    "reviews": "(id, case_id, reviewer, decision, blind) VALUES (1, 1, 'ada', 'dismissed', true)",
    "appeals": "(case_id, review_id, author) VALUES (1, 1, 'ada')",
    "draws": "(id, policy, version_id, threshold_id, stratum, low, high, since, until, population, drawn, author) "
    "VALUES (1, 'default', 1, 1, 'flagged', 0.5, 1.0, '2026-01-01', '2026-01-02', 1, 1, 'ada')",
    "samples": "(id, draw_id, image_id, score_id, probability) VALUES (1, 1, 'a', 1, 1.0)",
    "verdicts": "(sample_id, reviewer, verdict) VALUES (1, 'ada', 'real')",
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
    "locks": "(name, owner, until, beat) VALUES ('sweeper', 'me', '2026-01-01', '2026-01-01')",
    "schema_support": "(revision) VALUES ('0000')",
    "people": "(id, name, role) VALUES (1, 'ada', 'lead')",
    "sign_ins": "(digest, person_id, expires_at) VALUES ('f', 1, '2026-01-01')",
    "sign_in_links": "(digest, person_id, expires_at) VALUES ('f', 1, '2026-01-01')",
    "sign_in_tries": "(name, address) VALUES ('ada', '127.0.0.1')",
    "audit_log": "(who, what, case_id) VALUES ('ada', 'viewed', 1)",
}
#: Tables that the first schema had not.
NEWER = (
    "locks", "schema_support", "promotions", "reference_sets", "pauses", "rescores", "retention_pass", "looks",
    "appeals", "draws", "samples", "verdicts", "webhook_switch", "deliveries",
    "people", "sign_ins", "sign_in_links", "sign_in_tries", "audit_log",
)  # fmt: skip


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
    config.attributes["connection"] = connection
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
