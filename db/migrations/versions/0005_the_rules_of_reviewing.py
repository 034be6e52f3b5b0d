"""Holding cases, undoing decisions, appeals, and blind samples. Run before the code that needs them.

Workers cannot open cases while the indices on cases are built.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime, now

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: Runs as the owner of the tables: workers of the previous release and other writers need no rights on cases.
_POSTGRESQL_HIGHEST = (
    """
    CREATE FUNCTION unmask_case_highest() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        EXECUTE format('UPDATE %I.cases SET highest = found.highest FROM ('
            'SELECT case_id, max(score) AS highest FROM added JOIN %I.scores ON scores.id = score_id GROUP BY case_id'
            ') AS found WHERE cases.id = found.case_id AND found.highest > cases.highest',
            TG_TABLE_SCHEMA, TG_TABLE_SCHEMA);
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER flags_highest AFTER INSERT ON flags REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION unmask_case_highest()
    """,
)
_SQLITE_HIGHEST = (
    """
    CREATE TRIGGER flags_highest AFTER INSERT ON flags BEGIN
        UPDATE cases SET highest = max(highest, (SELECT score FROM scores WHERE id = NEW.score_id))
        WHERE id = NEW.case_id;
    END
    """,
)
_FILL_HIGHEST = """
    UPDATE cases SET highest = (
        SELECT max(scores.score) FROM flags JOIN scores ON scores.id = flags.score_id WHERE flags.case_id = cases.id
    ) WHERE id IN (SELECT case_id FROM flags)
"""
_POSTGRESQL_APPEND_ONLY = (
    "CREATE TRIGGER verdicts_append_only BEFORE UPDATE OR DELETE ON verdicts FOR EACH ROW {refuse}",
    "CREATE TRIGGER verdicts_no_truncate BEFORE TRUNCATE ON verdicts FOR EACH STATEMENT {refuse}",
)
_SQLITE_APPEND_ONLY = (
    "CREATE TRIGGER verdicts_no_update BEFORE UPDATE ON verdicts BEGIN {refuse}; END",
    "CREATE TRIGGER verdicts_no_delete BEFORE DELETE ON verdicts WHEN {closed} BEGIN {refuse}; END",
)
_CLOSED = "NOT EXISTS (SELECT 1 FROM retention_pass)"


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    _widen_cases()
    _widen_reviews()
    _create_appeals()
    _create_samples()
    if op.get_bind().dialect.name == "postgresql":
        _run(_POSTGRESQL_HIGHEST)
        _run(statement.format(refuse="EXECUTE FUNCTION unmask_append_only()") for statement in _POSTGRESQL_APPEND_ONLY)
    else:
        refuse = "SELECT RAISE(ABORT, 'verdicts are appended, never changed')"
        _run(_SQLITE_HIGHEST)
        _run(statement.format(refuse=refuse, closed=_CLOSED) for statement in _SQLITE_APPEND_ONLY)


def _run(statements: Iterable[str]) -> None:
    for statement in statements:
        op.execute(statement)


def _widen_cases() -> None:
    op.add_column("cases", sa.Column("highest", sa.Double(), server_default="0", nullable=False))
    op.add_column("cases", sa.Column("held_by", sa.String(length=128), nullable=True))
    op.add_column("cases", sa.Column("held_until", UtcDateTime(), nullable=True))
    op.add_column("cases", sa.Column("second", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute(_FILL_HIGHEST)
    op.create_index("ix_cases_state_created_at", "cases", ["state", "created_at", "id"])
    op.create_index("ix_cases_state_highest", "cases", ["state", "highest", "id"])
    op.create_index("ix_cases_state_policy_highest", "cases", ["state", "policy", "highest", "id"])
    op.create_index("ix_cases_account_id", "cases", ["account_id"], postgresql_ops={"account_id": "text_pattern_ops"})
    held, second = sa.text("held_by IS NOT NULL"), sa.text("second")
    op.create_index("ix_cases_held", "cases", ["held_by"], postgresql_where=held, sqlite_where=held)
    op.create_index("ix_cases_second", "cases", ["id"], postgresql_where=second, sqlite_where=second)


def _widen_reviews() -> None:
    op.add_column("reviews", sa.Column("reason", sa.String(length=64), nullable=True))
    op.add_column("reviews", sa.Column("undoes", BigId, nullable=True))
    op.create_index("ix_reviews_reviewer", "reviews", ["reviewer", "case_id"])
    op.create_index("uq_reviews_undoes", "reviews", ["undoes"], unique=True)


def _create_appeals() -> None:
    op.create_table(
        "appeals",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("case_id", BigId, nullable=False),
        sa.Column("review_id", BigId, nullable=False),
        sa.Column("author", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_appeals_case_id")),
        sa.ForeignKeyConstraint(["review_id"], ["reviews.id"], name=op.f("fk_appeals_review_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_appeals")),
        sa.UniqueConstraint("review_id", name=op.f("uq_appeals_review_id")),
    )
    op.create_index("ix_appeals_case_id", "appeals", ["case_id"])


def _create_samples() -> None:
    op.create_table(
        "draws",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("policy", sa.String(length=128), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("threshold_id", sa.Integer(), nullable=False),
        sa.Column("stratum", sa.String(length=16), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.Column("population", sa.Integer(), nullable=False),
        sa.Column("drawn", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(length=128), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("stratum IN ('flagged', 'below', 'unflagged')", name=op.f("ck_draws_stratum")),
        sa.ForeignKeyConstraint(["threshold_id"], ["thresholds.id"], name=op.f("fk_draws_threshold_id")),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_draws_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draws")),
    )
    op.create_index("ix_draws_policy", "draws", ["policy", "version_id", "until"])
    op.create_table(
        "samples",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("draw_id", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.String(length=128), nullable=False),
        sa.Column("score_id", BigId, nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("held_by", sa.String(length=128), nullable=True),
        sa.Column("held_until", UtcDateTime(), nullable=True),
        sa.Column("judged", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.ForeignKeyConstraint(["draw_id"], ["draws.id"], name=op.f("fk_samples_draw_id")),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_samples_image_id")),
        sa.ForeignKeyConstraint(["score_id"], ["scores.id"], name=op.f("fk_samples_score_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_samples")),
        sa.UniqueConstraint("score_id", name=op.f("uq_samples_score_id")),
    )
    op.create_index("ix_samples_draw_id", "samples", ["draw_id"])
    op.create_index("ix_samples_image_id", "samples", ["image_id"])
    waiting = sa.text("NOT judged")
    op.create_index("ix_samples_open", "samples", ["id"], postgresql_where=waiting, sqlite_where=waiting)
    op.create_table(
        "verdicts",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("sample_id", BigId, nullable=False),
        sa.Column("reviewer", sa.String(length=128), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("verdict IN ('fake', 'real', 'unsure')", name=op.f("ck_verdicts_verdict")),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.id"], name=op.f("fk_verdicts_sample_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint("sample_id", "reviewer", name=op.f("uq_verdicts_sample_id_reviewer")),
    )


def downgrade() -> None:
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER flags_highest ON flags")
        op.execute("DROP FUNCTION unmask_case_highest()")
    else:
        op.execute("DROP TRIGGER flags_highest")
    for table in ("verdicts", "samples", "draws", "appeals"):
        op.drop_table(table)
    for index in ("uq_reviews_undoes", "ix_reviews_reviewer"):
        op.drop_index(index, "reviews")
    for column in ("undoes", "reason"):
        op.drop_column("reviews", column)
    for index in ("second", "held", "account_id", "state_policy_highest", "state_highest", "state_created_at"):
        op.drop_index(f"ix_cases_{index}", "cases")
    for column in ("second", "held_until", "held_by", "highest"):
        op.drop_column("cases", column)
