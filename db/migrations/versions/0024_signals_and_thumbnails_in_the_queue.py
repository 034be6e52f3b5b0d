"""Thumbnails in lists, and indexes by which the queue finds cases by their signals and their model.

Run before the code.
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_PICTURES, _OLD_PICTURES = ("photo", "heatmap", "original", "thumb"), ("photo", "heatmap", "original")


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    _kinds(_PICTURES)
    op.create_index("ix_signals_kind_value", "signals", ["kind", "value", "image_id"])
    op.drop_index("ix_signals_kind", "signals")
    op.create_index("ix_flags_threshold_id", "flags", ["threshold_id", "case_id"])


def downgrade() -> None:
    op.drop_index("ix_flags_threshold_id", "flags")
    op.create_index("ix_signals_kind", "signals", ["kind", "image_id"])
    op.drop_index("ix_signals_kind_value", "signals")
    op.execute("DELETE FROM previews WHERE kind = 'thumb'")
    _kinds(_OLD_PICTURES)
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words


def _kinds(kinds: tuple[str, ...]) -> None:
    with op.batch_alter_table("previews") as batch:  # SQLite rebuilds the table
        batch.drop_constraint(op.f("ck_previews_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_previews_kind"), f"kind IN ({', '.join(map(repr, kinds))})")
