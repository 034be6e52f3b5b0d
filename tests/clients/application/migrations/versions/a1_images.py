"""The application's first table."""

import sqlalchemy as sa
from alembic import op

revision = "a1"
down_revision = None


def upgrade() -> None:
    op.create_table("images", sa.Column("id", sa.Integer, primary_key=True), sa.Column("path", sa.String, unique=True))
