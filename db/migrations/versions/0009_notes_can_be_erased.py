"""A reviewer's note can be erased with the account; the decision stays. Run before the code.

Only within retention's pass may a review's note become null.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

#: As 0004 made it; ``{notes}`` adds the exception for notes.
_POSTGRESQL = """
CREATE OR REPLACE FUNCTION unmask_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    passing boolean := false;
BEGIN
    IF TG_OP = 'DELETE'{notes} THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.retention_pass)', TG_TABLE_SCHEMA) INTO passing;
    END IF;
    IF passing THEN
        RETURN {row};
    END IF;
    RAISE EXCEPTION '% are appended, never changed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$
"""
_NOTES = """
        OR (TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'reviews' AND to_jsonb(NEW) = to_jsonb(OLD) || '{"note": null}')"""
_KEPT = ("id", "case_id", "reviewer", "decision", "reason", "blind", "undoes", "created_at")
_SQLITE = """
CREATE TRIGGER reviews_no_update BEFORE UPDATE ON reviews {when} BEGIN
    SELECT RAISE(ABORT, 'reviews are appended, never changed');
END
"""
_CHANGED = " OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in _KEPT)
_BUT_NOTES = f"WHEN NOT EXISTS (SELECT 1 FROM retention_pass) OR NEW.note IS NOT NULL OR {_CHANGED}"  # noqa: S608


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    _replace(_POSTGRESQL.replace("{notes}", _NOTES).replace("{row}", "COALESCE(NEW, OLD)"), _BUT_NOTES)


def downgrade() -> None:
    _replace(_POSTGRESQL.replace("{notes}", "").replace("{row}", "OLD"), "")
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words


def _replace(function: str, when: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(function)
    else:
        op.execute("DROP TRIGGER reviews_no_update")
        op.execute(_SQLITE.format(when=when))
