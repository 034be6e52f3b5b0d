"""Priorities, target times, saved views, search, OpenID identities, golden items. Run before the code.

Older workers and consoles go on: each new column has a default. Building the indexes of images reads the whole table;
while PostgreSQL does so, uploads wait.
"""

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime, now

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

#: Ids that people search by how they begin; PostgreSQL alone needs an index for it.
_SEARCHED = (("images", "id"), ("images", "account_id"), ("cases", "account_id"))
_PLAIN_INDEXES = (
    ("ix_cases_state_priority", "cases", ["state", "priority", "id"]),
    ("ix_cases_state_policy_priority", "cases", ["state", "policy", "priority", "id"]),
    ("ix_reviews_created_at", "reviews", ["created_at", "id"]),
    ("ix_looks_hash", "looks", ["hash"]),
    ("ix_audit_log_what", "audit_log", ["what", "id"]),
    ("ix_audit_log_created_at", "audit_log", ["created_at", "id"]),
)


_IS_DISPUTED = """
    (SELECT count(DISTINCT said.decision) > 1 FROM {schema}reviews AS said WHERE said.case_id = {case_id}
    AND said.decision IN ('confirmed', 'dismissed')
    AND NOT EXISTS (SELECT 1 FROM {schema}reviews AS undo WHERE undo.undoes = said.id))
"""
_IN_FUNCTION = _IS_DISPUTED.format(schema="%1$I.", case_id="$1").replace("'", "''")
_POSTGRESQL_DISPUTED = (
    f"""
    CREATE FUNCTION unmask_case_disputed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        EXECUTE format('UPDATE %1$I.cases SET disputed = {_IN_FUNCTION} WHERE id = $1', TG_TABLE_SCHEMA)
            USING NEW.case_id;
        RETURN NULL;
    END
    $$
    """,  # noqa: S608 - our own words
    "CREATE TRIGGER reviews_disputed AFTER INSERT ON reviews FOR EACH ROW EXECUTE FUNCTION unmask_case_disputed()",
)
_SQLITE_DISPUTED = (
    f"""
    CREATE TRIGGER reviews_disputed AFTER INSERT ON reviews BEGIN
        UPDATE cases SET disputed = {_IS_DISPUTED.format(schema="", case_id="NEW.case_id")} WHERE id = NEW.case_id;
    END
    """,  # noqa: S608 - our own words
)
#: The console's login changes no role but that of whoever signed in at the OpenID provider.
_POSTGRESQL_ROLES = (
    """
    CREATE FUNCTION unmask_identity_role() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        EXECUTE format('UPDATE %I.people SET role = $1, changed_at = clock_timestamp() WHERE id = $2', TG_TABLE_SCHEMA)
            USING NEW.role, NEW.person_id;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER identities_role AFTER UPDATE OF role ON identities FOR EACH ROW
    WHEN (NEW.role <> OLD.role) EXECUTE FUNCTION unmask_identity_role()
    """,
)
_SQLITE_ROLES = (
    """
    CREATE TRIGGER identities_role AFTER UPDATE OF role ON identities WHEN NEW.role <> OLD.role BEGIN
        UPDATE people SET role = NEW.role, changed_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = NEW.person_id;
    END
    """,
)


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    op.add_column("cases", sa.Column("priority", sa.Double(), server_default="500000", nullable=False))
    op.add_column("cases", sa.Column("chance", sa.Double(), nullable=True))
    op.add_column("cases", sa.Column("sharing", sa.Integer(), server_default="1", nullable=False))
    op.add_column("cases", sa.Column("disputed", sa.Boolean(), server_default=sa.false(), nullable=False))
    disputed = sa.text("disputed")
    op.create_index("ix_cases_disputed", "cases", ["id"], postgresql_where=disputed, sqlite_where=disputed)
    op.add_column("policies", sa.Column("target_s", sa.Double(), nullable=True))
    op.add_column("sign_ins", sa.Column("provider_session", sa.Text(), nullable=True))
    for name, table, columns in _PLAIN_INDEXES:
        op.create_index(name, table, columns)
    for table, column in _SEARCHED if _on_postgresql() else ():
        op.execute(f"CREATE INDEX ix_{table}_{column}_any_case ON {table} (lower({column}) text_pattern_ops)")
    _create_tables()
    op.execute(
        "UPDATE cases SET disputed = true WHERE id IN (SELECT said.case_id FROM reviews AS said "
        "WHERE said.decision IN ('confirmed', 'dismissed') "
        "AND NOT EXISTS (SELECT 1 FROM reviews AS undo WHERE undo.undoes = said.id) "
        "GROUP BY said.case_id HAVING count(DISTINCT said.decision) > 1)"
    )
    postgresql, sqlite = (*_POSTGRESQL_DISPUTED, *_POSTGRESQL_ROLES), (*_SQLITE_DISPUTED, *_SQLITE_ROLES)
    for statement in postgresql if _on_postgresql() else sqlite:
        op.execute(statement)


def downgrade() -> None:
    for table in ("identities", "saved_views", "golden_shares", "golden_items"):
        op.drop_table(table)
    op.execute(f"DROP TRIGGER reviews_disputed{' ON reviews' if _on_postgresql() else ''}")
    if _on_postgresql():
        op.execute("DROP FUNCTION unmask_case_disputed()")
        op.execute("DROP FUNCTION unmask_identity_role()")
    op.drop_index("ix_cases_disputed", "cases")
    for table, column in _SEARCHED if _on_postgresql() else ():
        op.execute(f"DROP INDEX ix_{table}_{column}_any_case")
    for name, table, _ in _PLAIN_INDEXES:
        op.drop_index(name, table)
    for table, column in (
        ("sign_ins", "provider_session"),
        ("policies", "target_s"),
        ("cases", "disputed"),
        ("cases", "sharing"),
        ("cases", "chance"),
        ("cases", "priority"),
    ):
        op.drop_column(table, column)
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _create_tables() -> None:
    op.create_table(
        "saved_views",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("author", sa.String(length=128), nullable=False),
        sa.Column("shared", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 64", name=op.f("ck_saved_views_name_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_views")),
        sa.UniqueConstraint("author", "name", name=op.f("uq_saved_views_author_name")),
    )
    op.create_table(
        "identities",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("role IN ('reviewer', 'lead', 'auditor')", name=op.f("ck_identities_role")),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_identities_person_id")),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_identities")),
        sa.UniqueConstraint("person_id", name=op.f("uq_identities_person_id")),
    )
    op.create_table(
        "golden_items",
        sa.Column("sample_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("author", sa.String(length=128), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("verdict IN ('fake', 'real')", name=op.f("ck_golden_items_verdict")),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.id"], name=op.f("fk_golden_items_sample_id")),
        sa.PrimaryKeyConstraint("sample_id", name=op.f("pk_golden_items")),
    )
    op.create_table(
        "golden_shares",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("author", sa.String(length=128), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("share BETWEEN 0 AND 0.5", name=op.f("ck_golden_shares_share")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_golden_shares")),
    )
