"""What reviewers need beside a decision: comments, facts about accounts, restricted cases, batches, undone verdicts.

Run before the code. Heatmaps that exist are deleted: they have another form now, and a worker makes them again on
request. A worker of the release before may still make one of the old form.
"""

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime, now

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_PICTURES, _OLD_PICTURES = ("photo", "heatmap", "original"), ("photo", "heatmap")
_REQUESTS = ("heatmap", "look", "original", "preview", "rescore")
_OLD_REQUESTS = ("heatmap", "look", "preview", "rescore")
_VERDICTS, _OLD_VERDICTS = ("fake", "real", "unsure", "undone"), ("fake", "real", "unsure")
_REFUSE = "SELECT RAISE(ABORT, 'verdicts are appended, never changed')"
_CLOSED = "NOT EXISTS (SELECT 1 FROM retention_pass)"
_SQLITE_VERDICTS = (
    f"CREATE TRIGGER verdicts_no_update BEFORE UPDATE ON verdicts BEGIN {_REFUSE}; END",
    f"CREATE TRIGGER verdicts_no_delete BEFORE DELETE ON verdicts WHEN {_CLOSED} BEGIN {_REFUSE}; END",
)
_SQLITE_NO_REPLACE = """
CREATE TRIGGER verdicts_no_replace BEFORE INSERT ON verdicts WHEN EXISTS (SELECT 1 FROM verdicts WHERE {keys}) BEGIN
    {refuse};
END
"""
_KEYS = "NEW.id = id OR NEW.undoes = undoes OR NEW.sample_id = sample_id AND NEW.reviewer = reviewer"
_SAME_TURN = f"{_KEYS} AND NEW.turn = turn"
_OLD_KEYS = "NEW.id = id OR NEW.sample_id = sample_id AND NEW.reviewer = reviewer"


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    _create_tables()
    op.add_column("cases", sa.Column("restricted", sa.String(length=64), nullable=True))
    op.add_column("reviews", sa.Column("batch", sa.String(length=32), nullable=True))
    batched = sa.text("batch IS NOT NULL")
    op.create_index("ix_reviews_batch", "reviews", ["batch"], postgresql_where=batched, sqlite_where=batched)
    op.execute("DELETE FROM previews WHERE kind = 'heatmap' AND picture IS NOT NULL")
    _kinds("previews", _PICTURES)
    _kinds("requests", _REQUESTS)
    _replace_verdicts(_widen_verdicts, _SAME_TURN)


def downgrade() -> None:
    _replace_verdicts(_narrow_verdicts, _OLD_KEYS)
    op.execute("DELETE FROM previews WHERE kind = 'original' OR kind = 'heatmap' AND picture IS NOT NULL")
    op.execute("DELETE FROM requests WHERE kind = 'original'")
    _kinds("previews", _OLD_PICTURES)
    _kinds("requests", _OLD_REQUESTS)
    op.drop_index("ix_reviews_batch", "reviews")
    op.drop_column("reviews", "batch")
    op.drop_column("cases", "restricted")
    for table in ("comments", "restrictions", "account_facts", "note_templates", "picture_defaults"):
        op.drop_table(table)
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _create_tables() -> None:
    for name, text in (("comments", "text"), ("restrictions", "reason")):
        op.create_table(
            name,
            sa.Column("id", BigId, sa.Identity(), nullable=False),
            sa.Column("case_id", BigId, nullable=False),
            sa.Column("author", sa.String(length=128), nullable=False),
            sa.Column(text, sa.Text() if text == "text" else sa.String(length=64), nullable=True),
            _time("created_at"),
            sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f(f"fk_{name}_case_id")),
            sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
        )
        op.create_index(f"ix_{name}_case_id", name, ["case_id"])
    op.create_table(
        "account_facts",
        sa.Column("account_id", sa.String(length=128), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        _time("changed_at"),
        sa.CheckConstraint("length(account_id) BETWEEN 1 AND 128", name=op.f("ck_account_facts_account_id_length")),
        sa.CheckConstraint("length(facts) BETWEEN 1 AND 16384", name=op.f("ck_account_facts_facts_length")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_account_facts")),
    )
    op.create_table(
        "note_templates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("author", sa.String(length=128), nullable=False),
        _time("changed_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_note_templates")),
        sa.UniqueConstraint("name", name=op.f("uq_note_templates_name")),
    )
    op.create_table(
        "picture_defaults",
        sa.Column("policy", sa.String(length=128), nullable=False),
        sa.Column("pictures", sa.String(length=16), nullable=False),
        sa.Column("author", sa.String(length=128), nullable=False),
        _time("changed_at"),
        sa.PrimaryKeyConstraint("policy", name=op.f("pk_picture_defaults")),
    )


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, UtcDateTime(), server_default=now(), nullable=False)


def _kinds(table: str, kinds: tuple[str, ...]) -> None:
    with op.batch_alter_table(table) as batch:  # SQLite rebuilds the table
        batch.drop_constraint(op.f(f"ck_{table}_kind"), type_="check")
        batch.create_check_constraint(op.f(f"ck_{table}_kind"), _one_of("kind", kinds))


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(map(repr, values))})"


def _replace_verdicts(change: Callable[[], None], keys: str) -> None:
    """Change the table without its triggers, and create them again."""
    if _on_postgresql():
        op.execute("ALTER TABLE verdicts DISABLE TRIGGER verdicts_append_only")
        change()
        op.execute("ALTER TABLE verdicts ENABLE TRIGGER verdicts_append_only")
        return
    for name in ("no_update", "no_delete", "no_replace"):
        op.execute(f"DROP TRIGGER verdicts_{name}")
    change()
    for statement in (*_SQLITE_VERDICTS, _SQLITE_NO_REPLACE.format(keys=keys, refuse=_REFUSE)):
        op.execute(statement)


def _widen_verdicts() -> None:
    with op.batch_alter_table("verdicts") as batch:
        batch.add_column(sa.Column("turn", sa.Integer(), server_default="0", nullable=False))
        batch.add_column(sa.Column("undoes", BigId, nullable=True))
        batch.drop_constraint(op.f("ck_verdicts_verdict"), type_="check")
        batch.create_check_constraint(op.f("ck_verdicts_verdict"), _one_of("verdict", _VERDICTS))
        batch.drop_constraint(op.f("uq_verdicts_sample_id_reviewer"), type_="unique")
        batch.create_unique_constraint(op.f("uq_verdicts_sample_id_reviewer_turn"), ["sample_id", "reviewer", "turn"])
    op.create_index("uq_verdicts_undoes", "verdicts", ["undoes"], unique=True)


def _narrow_verdicts() -> None:
    op.execute(
        "DELETE FROM verdicts WHERE verdict = 'undone' "
        "OR id IN (SELECT undoes FROM verdicts AS others WHERE others.undoes IS NOT NULL)"
    )
    op.drop_index("uq_verdicts_undoes", "verdicts")
    with op.batch_alter_table("verdicts") as batch:
        batch.drop_constraint(op.f("uq_verdicts_sample_id_reviewer_turn"), type_="unique")
        batch.create_unique_constraint(op.f("uq_verdicts_sample_id_reviewer"), ["sample_id", "reviewer"])
        batch.drop_constraint(op.f("ck_verdicts_verdict"), type_="check")
        batch.create_check_constraint(op.f("ck_verdicts_verdict"), _one_of("verdict", _OLD_VERDICTS))
        batch.drop_column("undoes")
        batch.drop_column("turn")
