"""What is known of images besides their scores, and flags that such a signal raised. Run before the code.

A flag has a kind; one that no score raised has evidence and no threshold. The view ``results`` gets two more columns.
The signals of an erased image go with its account, whoever erases it: a trigger deletes them.
"""

import sqlite3
from typing import Any

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime, now

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ERASED = "NEW.account_id IS NULL AND NEW.url IS NULL AND (OLD.account_id IS NOT NULL OR OLD.url IS NOT NULL)"
_POSTGRESQL = (
    """
    CREATE FUNCTION unmask_signals_append_only() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        passing boolean := false;
    BEGIN
        IF TG_OP = 'DELETE' THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM %I.retention_pass) OR NOT EXISTS (SELECT FROM %I.images '
                'WHERE id = $1 AND (account_id IS NOT NULL OR url IS NOT NULL))', TG_TABLE_SCHEMA, TG_TABLE_SCHEMA)
                INTO passing USING OLD.image_id;
        END IF;
        IF passing THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'signals are appended, never changed' USING ERRCODE = 'restrict_violation';
    END
    $$
    """,
    """
    CREATE TRIGGER signals_append_only BEFORE UPDATE OR DELETE ON signals FOR EACH ROW
    EXECUTE FUNCTION unmask_signals_append_only()
    """,
    """
    CREATE TRIGGER signals_no_truncate BEFORE TRUNCATE ON signals FOR EACH STATEMENT
    EXECUTE FUNCTION unmask_signals_append_only()
    """,
    """
    CREATE FUNCTION unmask_forget_signals() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        EXECUTE format('DELETE FROM %I.signals WHERE image_id = $1', TG_TABLE_SCHEMA) USING NEW.id;
        RETURN NULL;
    END
    $$
    """,
    f"""
    CREATE TRIGGER images_forget_signals AFTER UPDATE OF account_id, url ON images FOR EACH ROW
    WHEN ({_ERASED}) EXECUTE FUNCTION unmask_forget_signals()
    """,
)
_SQLITE = (
    """
    CREATE TRIGGER signals_no_update BEFORE UPDATE ON signals BEGIN
        SELECT RAISE(ABORT, 'signals are appended, never changed');
    END
    """,
    """
    CREATE TRIGGER signals_no_delete BEFORE DELETE ON signals
    WHEN NOT EXISTS (SELECT 1 FROM retention_pass) AND EXISTS (
        SELECT 1 FROM images WHERE id = OLD.image_id AND (account_id IS NOT NULL OR url IS NOT NULL)
    ) BEGIN
        SELECT RAISE(ABORT, 'signals are appended, never changed');
    END
    """,
    # See 0014: REPLACE would change a row, and ON CONFLICT DO NOTHING fires the same trigger.
    """
    CREATE TRIGGER signals_no_replace BEFORE INSERT ON signals WHEN EXISTS (
        SELECT 1 FROM signals WHERE NEW.id = id OR (NEW.version_id IS NULL AND version_id IS NULL
            AND NEW.image_id = image_id AND NEW.kind = kind AND NEW.place = place AND NEW.value = value)
    ) BEGIN
        SELECT RAISE(IGNORE);
    END
    """,
    f"""
    CREATE TRIGGER images_forget_signals AFTER UPDATE OF account_id, url ON images WHEN {_ERASED} BEGIN
        DELETE FROM signals WHERE image_id = NEW.id;
    END
    """,  # noqa: S608 - our own words
)
#: The view of 0011. New: a flag counts whatever raised it, and its kind and evidence are told.
_RESULTS = """
VIEW results AS
SELECT
    image_id, account_id, state, score,
    CASE WHEN {counts} THEN {true} WHEN score < in_force THEN {false} END AS flagged,
    COALESCE(flagged_at, in_force) AS threshold,
    model, reason, scored_at, case_state{more}
FROM (
    SELECT
        images.id AS image_id,
        images.account_id AS account_id,
        CASE images.state WHEN 'not_scorable' THEN 'unusable' ELSE images.state END AS state,
        scores.score AS score,
        CASE WHEN cases.state <> 'withdrawn' THEN used.value END AS flagged_at,{columns}
        COALESCE(
            (SELECT thresholds.value FROM thresholds WHERE thresholds.version_id = active.id
                AND thresholds.policy = images.policy ORDER BY thresholds.id DESC LIMIT 1),
            (SELECT thresholds.value FROM thresholds WHERE thresholds.version_id = active.id
                AND thresholds.policy = 'default' ORDER BY thresholds.id DESC LIMIT 1)
        ) AS in_force,
        CASE WHEN scores.id IS NOT NULL THEN active.name END AS model,
        CASE WHEN images.state = 'scored' AND scores.id IS NULL THEN 'scored_by_another_model' ELSE images.reason END
            AS reason,
        scores.created_at AS scored_at,
        cases.state AS case_state
    FROM images
    LEFT JOIN model_versions AS active ON active.state = 'active'
    LEFT JOIN scores ON scores.image_id = images.id AND scores.version_id = active.id
    LEFT JOIN flags ON flags.id = (SELECT max(others.id) FROM flags AS others WHERE others.image_id = images.id)
    LEFT JOIN cases ON cases.id = flags.case_id
    LEFT JOIN thresholds AS used ON used.id = flags.threshold_id
) AS found
"""
_BEFORE = {"counts": "flagged_at IS NOT NULL", "more": "", "columns": ""}
_AFTER = {
    "counts": "flagged_by IS NOT NULL",
    "more": ", flagged_by, evidence",
    "columns": """
        CASE WHEN cases.state <> 'withdrawn' THEN flags.kind END AS flagged_by,
        CASE WHEN cases.state <> 'withdrawn' THEN flags.evidence END AS evidence,""",
}


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    _create_signals()
    op.add_column("policies", sa.Column("signal_actions", sa.JSON(), nullable=True))
    # Plain SQL: alembic would recreate the table on SQLite because of the constraints.
    op.execute(
        "ALTER TABLE flags ADD COLUMN kind VARCHAR(64) DEFAULT 'score' NOT NULL "
        "CONSTRAINT ck_flags_kind_length CHECK (length(kind) BETWEEN 1 AND 64)"
    )
    op.execute(
        "ALTER TABLE flags ADD COLUMN evidence TEXT "
        "CONSTRAINT ck_flags_proof CHECK (threshold_id IS NOT NULL OR evidence IS NOT NULL)"
    )
    _let_threshold_be_null()
    if _on_postgresql():
        op.execute("CREATE OR REPLACE " + _results(_AFTER))  # keeps the view's grants
    else:
        op.execute("DROP VIEW results")
        op.execute("CREATE " + _results(_AFTER))


def downgrade() -> None:
    op.execute("DROP VIEW results")
    op.execute("DELETE FROM flags WHERE threshold_id IS NULL")
    op.drop_column("flags", "evidence")
    op.drop_column("flags", "kind")
    _let_threshold_be_null(undo=True)
    op.execute("CREATE " + _results(_BEFORE))
    op.drop_column("policies", "signal_actions")
    op.execute(f"DROP TRIGGER images_forget_signals{' ON images' if _on_postgresql() else ''}")
    op.drop_table("signals")
    if _on_postgresql():
        op.execute("DROP FUNCTION unmask_forget_signals()")
        op.execute("DROP FUNCTION unmask_signals_append_only()")
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _results(parts: dict[str, str]) -> str:
    truth = ("true", "false") if _on_postgresql() else ("1", "0")
    return _RESULTS.format(true=truth[0], false=truth[1], **parts)


def _create_signals() -> None:
    op.create_table(
        "signals",
        sa.Column("id", _BIG_ID, sa.Identity(), nullable=False),
        sa.Column("image_id", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=256), nullable=False),
        sa.Column("place", sa.String(length=128), nullable=False),
        sa.Column("trust", sa.String(length=16), nullable=True),
        sa.Column("tail_probability", sa.Double(), nullable=True),
        sa.Column("version_id", sa.Integer(), nullable=True),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("length(kind) BETWEEN 1 AND 64", name=op.f("ck_signals_kind_length")),
        sa.CheckConstraint("length(value) <= 256", name=op.f("ck_signals_value_length")),
        sa.CheckConstraint("length(place) <= 128", name=op.f("ck_signals_place_length")),
        sa.CheckConstraint("tail_probability BETWEEN 0 AND 1", name=op.f("ck_signals_tail_probability")),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_signals_image_id")),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_signals_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signals")),
    )
    op.create_index("ix_signals_image_id", "signals", ["image_id"])
    op.create_index("ix_signals_kind", "signals", ["kind", "image_id"])
    of_file = sa.text("version_id IS NULL")
    columns = ["image_id", "kind", "place", "value"]
    op.create_index(
        "uq_signals_of_file", "signals", columns, unique=True, postgresql_where=of_file, sqlite_where=of_file
    )
    for statement in _POSTGRESQL if _on_postgresql() else _SQLITE:
        op.execute(statement)


def _let_threshold_be_null(*, undo: bool = False) -> None:
    if _on_postgresql():
        op.alter_column("flags", "threshold_id", existing_type=sa.Integer(), nullable=not undo)
        return
    before, after = "threshold_id INTEGER NOT NULL", "threshold_id INTEGER"
    _replace_definition_on_sqlite("flags", *((f"{after},", f"{before},") if undo else (before, after)))


def _replace_definition_on_sqlite(table: str, before: str, after: str) -> None:
    """Replace a part of a table's definition: see `_replace_check_on_sqlite` in 0013."""
    bind = op.get_bind()
    driver: Any = bind.connection.driver_connection
    defensive: int | None = getattr(sqlite3, "SQLITE_DBCONFIG_DEFENSIVE", None)
    if defensive is not None:  # from Python 3.12 on; Apple's SQLite refuses the change otherwise
        driver.setconfig(defensive, False)  # noqa: FBT003 - the driver takes it by position
    number = bind.exec_driver_sql("PRAGMA schema_version").scalar_one()
    bind.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = bind.execute(
        sa.text(
            "UPDATE sqlite_master SET sql = replace(sql, :before, :after) "
            "WHERE name = :table AND instr(sql, :before) > 0"
        ),
        {"before": before, "after": after, "table": table},
    )
    bind.exec_driver_sql(f"PRAGMA schema_version = {number + 1}")
    bind.exec_driver_sql("PRAGMA writable_schema = RESET")
    if changed.rowcount != 1:
        raise RuntimeError(f"table {table} has no {before}")
