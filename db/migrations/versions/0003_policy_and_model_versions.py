"""Reference sets, promotions, pauses, rescores, and the indices for previews. Run before the code that needs them.

Workers cannot record scores while the index on scores is built.
"""

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime, now

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cases", sa.Column("reason", sa.Text(), nullable=True))
    op.add_column("model_versions", sa.Column("shadow_since", UtcDateTime(), nullable=True))
    op.add_column("thresholds", sa.Column("forced", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("thresholds", sa.Column("opened", sa.Integer(), nullable=True))
    op.add_column("thresholds", sa.Column("withdrawn", sa.Integer(), nullable=True))
    op.create_index("ix_flags_image_id", "flags", ["image_id"])
    op.create_index("ix_images_policy_created_at", "images", ["policy", "created_at"])
    op.create_index("ix_scores_version_id_score", "scores", ["version_id", "score"])

    op.create_table(
        "promotions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("from_version_id", sa.Integer(), nullable=False),
        sa.Column("to_version_id", sa.Integer(), nullable=False),
        sa.Column("last_score_id", BigId, nullable=False),
        sa.Column("max_drop", sa.Double(), nullable=True),
        sa.Column("opened", sa.Integer(), nullable=False),
        sa.Column("withdrawn", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("kind IN ('promote', 'rollback')", name=op.f("ck_promotions_kind")),
        sa.ForeignKeyConstraint(["from_version_id"], ["model_versions.id"], name=op.f("fk_promotions_from_version_id")),
        sa.ForeignKeyConstraint(["to_version_id"], ["model_versions.id"], name=op.f("fk_promotions_to_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotions")),
    )
    op.create_table(
        "reference_sets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("reals", sa.Integer(), nullable=False),
        sa.Column("scores", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("author", sa.String(length=128), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 128", name=op.f("ck_reference_sets_name_length")),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_reference_sets_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reference_sets")),
        sa.UniqueConstraint("name", "version_id", name=op.f("uq_reference_sets_name_version_id")),
    )
    op.create_table(
        "pauses",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("author", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("what IN ('flagging', 'scoring')", name=op.f("ck_pauses_what")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pauses")),
    )
    op.create_table(
        "rescores",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("policy", sa.String(length=128), nullable=True),
        sa.Column("since", UtcDateTime(), nullable=True),
        sa.Column("state", sa.String(length=16), server_default="running", nullable=False),
        sa.Column("rate_per_s", sa.Double(), nullable=False),
        sa.Column("next_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.Column("cursor", sa.String(length=128), server_default="", nullable=False),
        sa.Column("in_hand", sa.Integer(), server_default="0", nullable=False),
        sa.Column("passes", sa.Integer(), server_default="1", nullable=False),
        sa.Column("scored", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("author", sa.String(length=128), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("state IN ('running', 'done', 'stopped')", name=op.f("ck_rescores_state")),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_rescores_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rescores")),
    )
    op.create_index("ix_rescores_state", "rescores", ["state"])
    op.execute("INSERT INTO schema_support (revision) VALUES ('0003')")  # 0002's software still works


def downgrade() -> None:
    op.execute("DELETE FROM schema_support WHERE revision = '0003'")
    for table in ("rescores", "pauses", "reference_sets", "promotions"):
        op.drop_table(table)
    op.drop_index("ix_scores_version_id_score", "scores")
    op.drop_index("ix_images_policy_created_at", "images")
    op.drop_index("ix_flags_image_id", "flags")
    for table, column in (
        ("thresholds", "withdrawn"),
        ("thresholds", "opened"),
        ("thresholds", "forced"),
        ("model_versions", "shadow_since"),
        ("cases", "reason"),
    ):
        op.drop_column(table, column)
