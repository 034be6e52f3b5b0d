"""PostgreSQL notifies listeners of new images. Run before or after the code that listens.

The trigger fires once a statement, so a COPY of a million rows notifies once. The channel is named after the schema:
``unmask_due``.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_FUNCTION = """
CREATE FUNCTION unmask_notify_due() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify(TG_TABLE_SCHEMA || '_due', '');
    RETURN NULL;
END
$$
"""
_TRIGGER = """
CREATE TRIGGER images_due AFTER INSERT ON images FOR EACH STATEMENT EXECUTE FUNCTION unmask_notify_due()
"""


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_FUNCTION)
        op.execute(_TRIGGER)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER images_due ON images")
        op.execute("DROP FUNCTION unmask_notify_due()")
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words
