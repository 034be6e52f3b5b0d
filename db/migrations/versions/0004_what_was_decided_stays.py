"""Triggers refuse changes of scores, thresholds and reviews. Run before or after the code: neither changes them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = ("scores", "thresholds", "reviews")

#: The pass is looked up in the changed table's schema: otherwise a temporary table of its name would come first.
_POSTGRESQL_FUNCTION = """
CREATE FUNCTION unmask_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    passing boolean := false;
BEGIN
    IF TG_OP = 'DELETE' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.retention_pass)', TG_TABLE_SCHEMA) INTO passing;
    END IF;
    IF passing THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% are appended, never changed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$
"""


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    op.create_table(
        "retention_pass",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_retention_pass")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_POSTGRESQL_FUNCTION)
        _each(_POSTGRESQL, refuse="EXECUTE FUNCTION unmask_append_only()")
    else:
        _each(_SQLITE, refuse="SELECT RAISE(ABORT, '{table} are appended, never changed')", closed=_CLOSED)


def downgrade() -> None:
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words
    if op.get_bind().dialect.name == "postgresql":
        _each(("DROP TRIGGER {table}_append_only ON {table}", "DROP TRIGGER {table}_no_truncate ON {table}"))
        op.execute("DROP FUNCTION unmask_append_only()")
    else:
        _each(("DROP TRIGGER {table}_no_update", "DROP TRIGGER {table}_no_delete"))
    op.drop_table("retention_pass")


_POSTGRESQL = (
    "CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW {refuse}",
    "CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {refuse}",
)
_SQLITE = (
    "CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} BEGIN {refuse}; END",
    "CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} WHEN {closed} BEGIN {refuse}; END",
)
_CLOSED = "NOT EXISTS (SELECT 1 FROM retention_pass)"


def _each(statements: tuple[str, ...], **parts: str) -> None:
    for table in TABLES:
        filled = {name: part.format(table=table) for name, part in parts.items()}
        for statement in statements:
            op.execute(statement.format(table=table, **filled))
