"""Counts lost workers separately, adds locks, and lists the software that the schema supports. Run before the code."""

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("images", sa.Column("losses", sa.Integer(), server_default="0", nullable=False))
    op.add_column("images", sa.Column("sends", sa.Integer(), server_default="0", nullable=False))
    op.add_column("requests", sa.Column("attempts", sa.Integer(), server_default="0", nullable=False))
    op.add_column("requests", sa.Column("detail", sa.Text(), nullable=True))
    op.create_table(
        "locks",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.Column("beat", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_locks")),
    )
    support = op.create_table(
        "schema_support",
        sa.Column("revision", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_schema_support")),
    )
    # Each later migration adds its own revision, and deletes those whose software it breaks.
    op.bulk_insert(support, [{"revision": revision}])


def downgrade() -> None:
    op.drop_table("schema_support")
    op.drop_table("locks")
    op.drop_column("requests", "detail")
    op.drop_column("requests", "attempts")
    op.drop_column("images", "sends")
    op.drop_column("images", "losses")
