"""Thresholds with a certified FPR, certificates that expire, cohorts of reference sets, and a rate for each policy.

Run before the code. Older thresholds have no rule: they were set by the plain share of real photos, or by a score.
Columns with a CHECK are added in SQL, because alembic would recreate the table for it on SQLite, and lose its triggers.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime, now

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

BigId: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_RULES = "rule IN ('certified', 'certified_by_cohort', 'empirical', 'value')"
_CHECKED = """
ALTER TABLE thresholds ADD COLUMN rule VARCHAR(32) CONSTRAINT ck_thresholds_rule CHECK ({rules});
ALTER TABLE policies ADD COLUMN max_fpr {double} CONSTRAINT ck_policies_max_fpr CHECK (max_fpr > 0 AND max_fpr <= 1)
"""
_THRESHOLDS: tuple[sa.Column[Any], ...] = (
    sa.Column("confidence", sa.Double(), nullable=True),
    sa.Column("allowed", sa.Integer(), nullable=True),
    sa.Column("fpr_bound", sa.Double(), nullable=True),
    sa.Column("worst_cohort", sa.Text(), nullable=True),
    sa.Column("worst_cohort_bound", sa.Double(), nullable=True),
)
_UNIQUE = "uq_expiries_threshold_id_policy_evidence"
_POSTGRESQL = """
CREATE TRIGGER expiries_append_only BEFORE UPDATE OR DELETE ON expiries
FOR EACH ROW EXECUTE FUNCTION unmask_append_only();
CREATE TRIGGER expiries_no_truncate BEFORE TRUNCATE ON expiries
FOR EACH STATEMENT EXECUTE FUNCTION unmask_append_only()
"""
_SQLITE = (
    "CREATE TRIGGER expiries_no_update BEFORE UPDATE ON expiries BEGIN {refuse}; END",
    "CREATE TRIGGER expiries_no_delete BEFORE DELETE ON expiries WHEN {closed} BEGIN {refuse}; END",
    "CREATE TRIGGER expiries_no_replace BEFORE INSERT ON expiries WHEN {known} BEGIN {refuse}; END",
)
_WORDS = {
    "refuse": "SELECT RAISE(ABORT, 'expiries are appended, never changed')",
    "closed": "NOT EXISTS (SELECT 1 FROM retention_pass)",
    "known": "EXISTS (SELECT 1 FROM expiries WHERE NEW.id = id OR "
    "NEW.threshold_id = threshold_id AND NEW.policy = policy AND NEW.evidence = evidence)",
}


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    double = sa.Double().compile(dialect=op.get_bind().dialect)
    for statement in _CHECKED.format(rules=_RULES, double=double).split(";"):
        op.execute(statement)
    for column in _THRESHOLDS:
        op.add_column("thresholds", column)
    op.add_column("reference_sets", sa.Column("cohorts", sa.LargeBinary(), nullable=True))
    op.create_table(
        "expiries",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("threshold_id", sa.Integer(), nullable=False),
        sa.Column("policy", sa.String(length=128), nullable=False),
        sa.Column("evidence", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("evidence IN ('verdicts', 'drift')", name=op.f("ck_expiries_evidence")),
        sa.ForeignKeyConstraint(["threshold_id"], ["thresholds.id"], name=op.f("fk_expiries_threshold_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_expiries")),
        sa.UniqueConstraint(
            "threshold_id", "policy", "evidence", name=op.f("uq_expiries_threshold_id_policy_evidence")
        ),
    )
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _POSTGRESQL.split(";") if on_postgresql else _SQLITE:
        op.execute(statement if on_postgresql else statement.format(**_WORDS))


def downgrade() -> None:
    op.drop_table("expiries")
    op.drop_column("reference_sets", "cohorts")
    for column in _THRESHOLDS:
        op.drop_column("thresholds", column.name)
    op.drop_column("thresholds", "rule")
    op.drop_column("policies", "max_fpr")
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words
