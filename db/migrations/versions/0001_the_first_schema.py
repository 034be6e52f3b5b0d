"""The first schema. Run before the code that needs it."""

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime, now

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cases",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.String(length=128), nullable=True),
        sa.Column("policy", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="open", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'confirmed', 'dismissed', 'withdrawn')", name=op.f("ck_cases_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
    )
    op.create_index("ix_cases_state", "cases", ["state", "policy", "created_at"], unique=False)
    op.create_index(
        "uq_cases_open",
        "cases",
        ["account_id", "policy"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
        sqlite_where=sa.text("state = 'open'"),
    )

    op.create_table(
        "images",
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("account_id", sa.String(length=128), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("policy", sa.String(length=128), server_default="default", nullable=False),
        sa.Column("state", sa.String(length=16), server_default="pending", nullable=False),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("bytes", sa.Integer(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("state IN ('pending', 'scored', 'failed', 'not_scorable')", name=op.f("ck_images_state")),
        sa.CheckConstraint("length(account_id) BETWEEN 1 AND 128", name=op.f("ck_images_account_id_length")),
        sa.CheckConstraint("length(id) BETWEEN 1 AND 128", name=op.f("ck_images_id_length")),
        sa.CheckConstraint("length(policy) BETWEEN 1 AND 128", name=op.f("ck_images_policy_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_images")),
    )
    op.create_index("ix_images_account_id", "images", ["account_id"], unique=False)
    op.create_index(
        "ix_images_due",
        "images",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
        sqlite_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_images_failed",
        "images",
        ["reason"],
        unique=False,
        postgresql_where=sa.text("state IN ('failed', 'not_scorable')"),
        sqlite_where=sa.text("state IN ('failed', 'not_scorable')"),
    )

    op.create_table(
        "model_versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("preprocess", sa.String(length=128), nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="candidate", nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint(
            "state IN ('candidate', 'shadow', 'active', 'retired')", name=op.f("ck_model_versions_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("name", name=op.f("uq_model_versions_name")),
        sa.UniqueConstraint("sha256", name=op.f("uq_model_versions_sha256")),
    )
    op.create_index(
        "uq_model_versions_active",
        "model_versions",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state = 'active'"),
        sqlite_where=sa.text("state = 'active'"),
    )

    op.create_table(
        "previews",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("image_id", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("picture", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("kind IN ('photo', 'heatmap')", name=op.f("ck_previews_kind")),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_previews_image_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_previews")),
        sa.UniqueConstraint("image_id", "kind", name=op.f("uq_previews_image_id_kind")),
    )
    op.create_table(
        "requests",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("image_id", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="pending", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("author", sa.String(length=128), nullable=False),
        sa.Column("next_attempt_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("kind IN ('heatmap', 'preview', 'rescore')", name=op.f("ck_requests_kind")),
        sa.CheckConstraint("state IN ('pending', 'done', 'failed')", name=op.f("ck_requests_state")),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_requests_image_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requests")),
    )
    op.create_index("ix_requests_due", "requests", ["state", "next_attempt_at"], unique=False)

    op.create_table(
        "reviews",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("case_id", BigId, nullable=False),
        sa.Column("reviewer", sa.String(length=128), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint(
            "decision IN ('confirmed', 'dismissed', 'unsure', 'undone')", name=op.f("ck_reviews_decision")
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_reviews_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index("ix_reviews_case_id", "reviews", ["case_id"], unique=False)

    op.create_table(
        "scores",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("image_id", sa.String(length=128), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("engine", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("score >= 0 AND score <= 1", name=op.f("ck_scores_score")),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_scores_image_id")),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_scores_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scores")),
        sa.UniqueConstraint("image_id", "version_id", name=op.f("uq_scores_image_id_version_id")),
    )
    op.create_table(
        "thresholds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("policy", sa.String(length=128), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("target_fpr", sa.Double(), nullable=True),
        sa.Column("measured_fpr", sa.Double(), nullable=True),
        sa.Column("fpr_low", sa.Double(), nullable=True),
        sa.Column("fpr_high", sa.Double(), nullable=True),
        sa.Column("reals", sa.Integer(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("author", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("length(policy) BETWEEN 1 AND 128", name=op.f("ck_thresholds_policy_length")),
        sa.CheckConstraint("value >= 0 AND value <= 1", name=op.f("ck_thresholds_value")),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_thresholds_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_thresholds")),
    )
    op.create_index("ix_thresholds_policy_version_id", "thresholds", ["policy", "version_id", "id"], unique=False)

    op.create_table(
        "flags",
        sa.Column("id", BigId, sa.Identity(always=False), nullable=False),
        sa.Column("case_id", BigId, nullable=False),
        sa.Column("image_id", sa.String(length=128), nullable=False),
        sa.Column("score_id", BigId, nullable=False),
        sa.Column("threshold_id", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_flags_case_id")),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_flags_image_id")),
        sa.ForeignKeyConstraint(["score_id"], ["scores.id"], name=op.f("fk_flags_score_id")),
        sa.ForeignKeyConstraint(["threshold_id"], ["thresholds.id"], name=op.f("fk_flags_threshold_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flags")),
        sa.UniqueConstraint("case_id", "score_id", name=op.f("uq_flags_case_id_score_id")),
    )
    op.create_index("ix_flags_score_id", "flags", ["score_id"], unique=False)


def downgrade() -> None:
    op.drop_table("flags")
    op.drop_table("thresholds")
    op.drop_table("scores")
    op.drop_table("reviews")
    op.drop_table("requests")
    op.drop_table("previews")
    op.drop_table("model_versions")
    op.drop_table("images")
    op.drop_table("cases")
