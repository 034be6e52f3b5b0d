"""Projections of embeddings, by which photos of an engine that nobody knows are found. Run before the code."""

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime, now

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    op.create_table(
        "projections",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("image_id", sa.String(length=128), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("projection", sa.LargeBinary(), nullable=False),
        sa.Column("kept_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("kind IN ('flagged', 'high', 'sample')", name=op.f("ck_projections_kind")),
        sa.CheckConstraint("length(projection) = 64", name=op.f("ck_projections_projection_length")),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_projections_image_id")),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_projections_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projections")),
        sa.UniqueConstraint("image_id", "version_id", name=op.f("uq_projections_image_id_version_id")),
    )
    op.create_index("ix_projections_version_id_kept_at", "projections", ["version_id", "kept_at"])
    op.create_index("ix_projections_kept_at", "projections", ["kept_at"])


def downgrade() -> None:
    op.drop_table("projections")
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words
