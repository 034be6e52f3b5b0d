"""Requests for perceptual hashes of photos that a later threshold flags. Run before the code.

There may be as many as flagged photos, and they may wait long: the index must find what people wait for among them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    _kinds("kind IN ('heatmap', 'look', 'preview', 'rescore')", ["state", "kind", "next_attempt_at"])


def downgrade() -> None:
    op.execute("DELETE FROM requests WHERE kind = 'look'")
    _kinds("kind IN ('heatmap', 'preview', 'rescore')", ["state", "next_attempt_at"])
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words


def _kinds(allowed: str, due: list[str]) -> None:
    op.drop_index("ix_requests_due", "requests")
    with op.batch_alter_table("requests") as table:  # SQLite rebuilds the table
        table.drop_constraint(op.f("ck_requests_kind"), type_="check")
        table.create_check_constraint(op.f("ck_requests_kind"), allowed)
    op.create_index("ix_requests_due", "requests", due)
