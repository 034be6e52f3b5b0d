"""Photos that a later threshold flags have no perceptual hash: workers are asked for it. Run before the code."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    _kinds("kind IN ('heatmap', 'look', 'preview', 'rescore')")


def downgrade() -> None:
    op.execute("DELETE FROM requests WHERE kind = 'look'")
    _kinds("kind IN ('heatmap', 'preview', 'rescore')")
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words


def _kinds(allowed: str) -> None:
    with op.batch_alter_table("requests") as table:  # SQLite has to make it anew
        table.drop_constraint(op.f("ck_requests_kind"), type_="check")
        table.create_check_constraint(op.f("ck_requests_kind"), allowed)
