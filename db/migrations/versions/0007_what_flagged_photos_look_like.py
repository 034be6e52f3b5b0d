"""Perceptual hashes of flagged photos, which connect cases of one face. Run before the code."""

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime, now

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    op.create_table(
        "looks",
        sa.Column("image_id", sa.String(length=128), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("mirrored", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_looks_image_id")),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_looks")),
    )


def downgrade() -> None:
    op.drop_table("looks")
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words
