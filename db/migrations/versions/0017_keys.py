"""How many signals a policy's flags need. Run before the code that needs it.

A policy with "two" accepts only model versions that fuse two detectors.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Every policy needs one signal, as before. SQLite cannot rebuild a table that other tables' triggers read."""
    check = "CONSTRAINT ck_policies_keys CHECK (keys IN ('one', 'two'))"
    op.execute(f"ALTER TABLE policies ADD COLUMN keys VARCHAR(8) DEFAULT 'one' NOT NULL {check}")


def downgrade() -> None:
    """Forget it."""
    op.execute("ALTER TABLE policies DROP COLUMN keys")
