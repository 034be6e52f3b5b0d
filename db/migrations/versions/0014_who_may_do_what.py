"""Known sign-in addresses, logins in the audit log, digests of erased photos, REPLACE on SQLite. Run before the code.

SQLite's ``INSERT OR REPLACE`` deletes the existing row, and fires no trigger for that unless a connection asks for it.
So each append-only table refuses existing keys. An existing score is ignored silently instead: workers insert scores
with ``ON CONFLICT DO NOTHING``, which fires the same trigger.
"""

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime, now

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

#: Append-only tables, and the keys by which a row could be replaced.
_KEYS = {
    "scores": ("NEW.id = id", "NEW.image_id = image_id AND NEW.version_id = version_id"),
    "thresholds": ("NEW.id = id",),
    "reviews": ("NEW.id = id", "NEW.undoes = undoes"),
    "verdicts": ("NEW.id = id", "NEW.sample_id = sample_id AND NEW.reviewer = reviewer"),
    "audit_log": ("NEW.id = id",),
}
_SQLITE_REPLACE = """
CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {keys}) BEGIN
    SELECT {refuse};
END
"""
_ERASED = "NEW.account_id IS NULL AND NEW.url IS NULL AND NEW.sha256 IS NOT NULL"
#: A worker may record a score of a photo that was erased meanwhile; the trigger removes the digest of its file.
_POSTGRESQL_ERASED = (
    """
    CREATE FUNCTION unmask_forget_digest() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        NEW.sha256 := NULL;
        RETURN NEW;
    END
    $$
    """,
    f"""
    CREATE TRIGGER images_erased BEFORE UPDATE OF account_id, url, sha256 ON images FOR EACH ROW
    WHEN ({_ERASED}) EXECUTE FUNCTION unmask_forget_digest()
    """,
)
_SQLITE_ERASED = (
    f"""
    CREATE TRIGGER images_erased AFTER UPDATE OF account_id, url, sha256 ON images WHEN {_ERASED} BEGIN
        UPDATE images SET sha256 = NULL WHERE id = NEW.id;
    END
    """,  # noqa: S608 - our own words
)


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    op.create_table(
        "known_addresses",
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=128), nullable=False),
        sa.Column("seen_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_known_addresses_person_id")),
        sa.PrimaryKeyConstraint("person_id", "address", name=op.f("pk_known_addresses")),
    )
    no_login = None if _on_postgresql() else sa.text("NULL")
    op.add_column("audit_log", sa.Column("login", sa.Text(), server_default=no_login, nullable=True))
    op.execute("UPDATE images SET sha256 = NULL WHERE account_id IS NULL AND url IS NULL AND sha256 IS NOT NULL")
    if _on_postgresql():
        op.execute("ALTER TABLE audit_log ALTER COLUMN login SET DEFAULT session_user")  # earlier entries stay unknown
    for statement in _POSTGRESQL_ERASED if _on_postgresql() else (*_SQLITE_ERASED, *_refuse_replacing()):
        op.execute(statement)


def downgrade() -> None:
    if _on_postgresql():
        op.execute("DROP TRIGGER images_erased ON images")
        op.execute("DROP FUNCTION unmask_forget_digest()")
    else:
        for trigger in ("images_erased", *(f"{table}_no_replace" for table in _KEYS)):
            op.execute(f"DROP TRIGGER {trigger}")
    op.drop_column("audit_log", "login")
    op.drop_table("known_addresses")
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _refuse_replacing() -> list[str]:
    return [
        _SQLITE_REPLACE.format(
            table=table,
            keys=" OR ".join(f"({key})" for key in keys),
            refuse="RAISE(IGNORE)" if table == "scores" else f"RAISE(ABORT, '{table} are appended, never changed')",
        )
        for table, keys in _KEYS.items()
    ]
