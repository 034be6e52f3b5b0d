"""Lanes, policies, API keys, uploaded bytes and the view ``results``. Run before the code that needs it.

Triggers, not foreign keys, refuse images and thresholds of unknown policies: SQLite cannot add a foreign key to a table
that others refer to, and on PostgreSQL each upload would lock its policy's row. Policies are never deleted.

The view reads images, scores, flags, cases, thresholds and model_versions: a later migration that recreates
one of them on SQLite (a batch) must drop the view first, and then create it and the table's triggers again.
"""

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime, now

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

#: Bytes are kept for workers and, while a case is open, for its reviewers. The function runs as its owner, so that a
#: role that may change a state needs no right to delete bytes. The code that records scores deletes the bytes of photos
#: that are not flagged.
_POSTGRESQL_UPLOADS = (
    """
    CREATE FUNCTION unmask_forget_upload() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        IF TG_TABLE_NAME = 'images' THEN
            EXECUTE format('DELETE FROM %I.uploads WHERE image_id = $1', TG_TABLE_SCHEMA) USING NEW.id;
        ELSE
            EXECUTE format('DELETE FROM %I.uploads WHERE image_id IN '
                '(SELECT image_id FROM %I.flags WHERE case_id = $1)', TG_TABLE_SCHEMA, TG_TABLE_SCHEMA) USING NEW.id;
        END IF;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER images_forget_upload AFTER UPDATE OF state, url ON images FOR EACH ROW
    WHEN (NEW.state IN ('failed', 'not_scorable') OR NEW.url IS NULL) EXECUTE FUNCTION unmask_forget_upload()
    """,
    """
    CREATE TRIGGER cases_forget_upload AFTER UPDATE OF state ON cases FOR EACH ROW
    WHEN (NEW.state <> 'open') EXECUTE FUNCTION unmask_forget_upload()
    """,
)
_SQLITE_UPLOADS = (
    """
    CREATE TRIGGER images_forget_upload AFTER UPDATE OF state, url ON images
    WHEN NEW.state IN ('failed', 'not_scorable') OR NEW.url IS NULL BEGIN
        DELETE FROM uploads WHERE image_id = NEW.id;
    END
    """,
    """
    CREATE TRIGGER cases_forget_upload AFTER UPDATE OF state ON cases WHEN NEW.state <> 'open' BEGIN
        DELETE FROM uploads WHERE image_id IN (SELECT image_id FROM flags WHERE case_id = NEW.id);
    END
    """,
)
_TABLES = ("images", "thresholds")
#: The function runs as the owner of the tables, so that an uploader needs no right to read policies.
_POSTGRESQL_FUNCTION = """
CREATE FUNCTION unmask_known_policy() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %I.policies WHERE name = $1)', TG_TABLE_SCHEMA) INTO known
        USING NEW.policy;
    IF NOT known THEN
        RAISE EXCEPTION 'policy % is unknown: add it with `unmask policy add`', to_json(NEW.policy)
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END
$$
"""
_POSTGRESQL = """
CREATE TRIGGER {table}_known_policy BEFORE INSERT OR UPDATE OF policy ON {table}
FOR EACH ROW EXECUTE FUNCTION unmask_known_policy()
"""
_SQLITE = """
CREATE TRIGGER {table}_{event}_known_policy BEFORE {when} ON {table}
WHEN NOT EXISTS (SELECT 1 FROM policies WHERE name = NEW.policy) BEGIN
    SELECT RAISE(ABORT, 'the policy is unknown: add it with `unmask policy add`');
END
"""
_SQLITE_EVENTS = {"insert": "INSERT", "update": "UPDATE OF policy"}
#: An image's last flag counts while its case is not withdrawn. ``flagged`` is false only where a threshold is in force
#: and the score lies below it: without a score or a threshold, or while flagging is paused, it is null.
_RESULTS = """
CREATE VIEW results AS
SELECT
    image_id, account_id, state, score,
    CASE WHEN flagged_at IS NOT NULL THEN {true} WHEN score < in_force THEN {false} END AS flagged,
    COALESCE(flagged_at, in_force) AS threshold,
    model, reason, scored_at, case_state
FROM (
    SELECT
        images.id AS image_id,
        images.account_id AS account_id,
        CASE images.state WHEN 'not_scorable' THEN 'unusable' ELSE images.state END AS state,
        scores.score AS score,
        CASE WHEN cases.state <> 'withdrawn' THEN used.value END AS flagged_at,
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


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    _add_lanes()
    _create_policies()
    _create_keys()
    _create_uploads()
    if _on_postgresql():
        op.execute(_POSTGRESQL_FUNCTION)
        op.execute("ALTER TABLE uploads ALTER COLUMN data SET STORAGE EXTERNAL")  # photos are compressed already
        op.execute(_RESULTS.format(true="true", false="false"))
    else:
        op.execute(_RESULTS.format(true="1", false="0"))
    for table in _TABLES:
        _refuse_unknown_policies(table)
    for statement in _POSTGRESQL_UPLOADS if _on_postgresql() else _SQLITE_UPLOADS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW results")
    for table in ("images", "cases"):
        op.execute(f"DROP TRIGGER {table}_forget_upload{f' ON {table}' if _on_postgresql() else ''}")
    for table in _TABLES:
        for trigger in (f"{table}_known_policy",) if _on_postgresql() else _sqlite_triggers(table):
            op.execute(f"DROP TRIGGER {trigger}{f' ON {table}' if _on_postgresql() else ''}")
    if _on_postgresql():
        op.execute("DROP FUNCTION unmask_known_policy()")
        op.execute("DROP FUNCTION unmask_forget_upload()")
    for table in ("uploads", "api_keys", "policies"):
        op.drop_table(table)
    op.drop_index("ix_images_due_by_lane", "images")
    op.drop_column("images", "lane")
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _add_lanes() -> None:
    # Plain SQL: alembic would recreate the table on SQLite because of the constraint.
    op.execute(
        "ALTER TABLE images ADD COLUMN lane VARCHAR(16) DEFAULT 'upload' NOT NULL "
        "CONSTRAINT ck_images_lane CHECK (lane IN ('upload', 'backfill'))"
    )
    due = sa.text("state = 'pending'")
    columns = ["lane", "policy", "next_attempt_at"]
    op.create_index("ix_images_due_by_lane", "images", columns, postgresql_where=due, sqlite_where=due)


def _create_policies() -> None:
    op.create_table(
        "policies",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("weight", sa.Integer(), server_default="1", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 128", name=op.f("ck_policies_name_length")),
        sa.CheckConstraint("weight BETWEEN 1 AND 1000", name=op.f("ck_policies_weight")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_policies")),
    )
    op.execute(
        "INSERT INTO policies (name, created_by, reason) "
        "SELECT name, 'db upgrade', 'it was in use' FROM "
        "(SELECT 'default' AS name UNION SELECT policy FROM images UNION SELECT policy FROM thresholds) AS used"
    )


def _create_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.String(length=64), nullable=False),
        sa.Column("policy", sa.String(length=128), nullable=True),
        sa.Column("rate_per_minute", sa.Integer(), nullable=True),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.Column("last_used_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 128", name=op.f("ck_api_keys_name_length")),
        sa.CheckConstraint("rate_per_minute > 0", name=op.f("ck_api_keys_rate_per_minute")),
        sa.ForeignKeyConstraint(["policy"], ["policies.name"], name=op.f("fk_api_keys_policy")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("name", name=op.f("uq_api_keys_name")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_keys_sha256")),
    )


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("image_id", sa.String(length=128), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_uploads_image_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_uploads")),
    )


def _refuse_unknown_policies(table: str) -> None:
    if _on_postgresql():
        op.execute(_POSTGRESQL.format(table=table))
        return
    for event, when in _SQLITE_EVENTS.items():
        op.execute(_SQLITE.format(table=table, event=event, when=when))


def _sqlite_triggers(table: str) -> tuple[str, ...]:
    return tuple(f"{table}_{event}_known_policy" for event in _SQLITE_EVENTS)
