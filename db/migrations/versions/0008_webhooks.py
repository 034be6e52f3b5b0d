"""Webhooks for events of cases. Run before the code that sends them.

Triggers on cases write deliveries in the transaction that changes a case, whoever does; while webhook_switch has no row
they do nothing.
"""

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime, now

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_POSTGRESQL = (
    """
    CREATE FUNCTION unmask_case_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        EXECUTE format('INSERT INTO %I.deliveries (case_id, version, event) '
            'SELECT $1, $2, $3 FROM %I.webhook_switch ON CONFLICT DO NOTHING', TG_TABLE_SCHEMA, TG_TABLE_SCHEMA)
            USING NEW.id, NEW.version,
                CASE WHEN TG_OP = 'INSERT' THEN 'opened' WHEN NEW.state = 'open' THEN 'reopened' ELSE NEW.state END;
        RETURN NULL;
    END
    $$
    """,
    "CREATE TRIGGER cases_opened AFTER INSERT ON cases FOR EACH ROW EXECUTE FUNCTION unmask_case_event()",
    """
    CREATE TRIGGER cases_changed AFTER UPDATE OF state ON cases FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND NEW.account_id IS NOT NULL) EXECUTE FUNCTION unmask_case_event()
    """,
)
_SQLITE = (
    """
    CREATE TRIGGER cases_opened AFTER INSERT ON cases BEGIN
        INSERT INTO deliveries (case_id, version, event) SELECT NEW.id, NEW.version, 'opened' FROM webhook_switch
        WHERE true ON CONFLICT DO NOTHING;
    END
    """,
    """
    CREATE TRIGGER cases_changed AFTER UPDATE OF state ON cases
    WHEN OLD.state <> NEW.state AND NEW.account_id IS NOT NULL BEGIN
        INSERT INTO deliveries (case_id, version, event)
        SELECT NEW.id, NEW.version, CASE NEW.state WHEN 'open' THEN 'reopened' ELSE NEW.state END FROM webhook_switch
        WHERE true ON CONFLICT DO NOTHING;
    END
    """,
)


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    op.create_table(
        "webhook_switch",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_webhook_switch")),
    )
    events = "event IN ('opened', 'confirmed', 'dismissed', 'withdrawn', 'reopened')"
    op.create_table(
        "deliveries",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("case_id", BigId, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("next_attempt_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint(events, name=op.f("ck_deliveries_event")),
        sa.CheckConstraint("state IN ('pending', 'done', 'dead', 'erased')", name=op.f("ck_deliveries_state")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_deliveries_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("case_id", "version", name=op.f("uq_deliveries_case_id_version")),
    )
    due = sa.text("state = 'pending'")
    op.create_index("ix_deliveries_due", "deliveries", ["next_attempt_at"], postgresql_where=due, sqlite_where=due)
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)


def downgrade() -> None:
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    for trigger in ("cases_changed", "cases_opened"):
        op.execute(f"DROP TRIGGER {trigger}{' ON cases' if on_postgresql else ''}")
    if on_postgresql:
        op.execute("DROP FUNCTION unmask_case_event()")
    op.drop_table("deliveries")
    op.drop_table("webhook_switch")
