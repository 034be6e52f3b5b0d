"""People of the console, their sign-ins, and the audit log. Run before the code that needs them."""

import sqlalchemy as sa
from alembic import op

from db.migrations.types import UtcDateTime, now

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_REFUSE = "BEGIN SELECT RAISE(ABORT, 'audit_log are appended, never changed'); END"
_CLOSED = "NOT EXISTS (SELECT 1 FROM retention_pass)"
_POSTGRESQL = {
    "append_only BEFORE UPDATE OR DELETE": "FOR EACH ROW EXECUTE FUNCTION unmask_append_only()",
    "no_truncate BEFORE TRUNCATE": "FOR EACH STATEMENT EXECUTE FUNCTION unmask_append_only()",
}
_SQLITE = {"no_update BEFORE UPDATE": _REFUSE, "no_delete BEFORE DELETE": f"WHEN {_CLOSED} {_REFUSE}"}


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    _people()
    _sign_ins()
    _tries()
    _audit_log()
    for what, action in (_POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE).items():
        op.execute(f"CREATE TRIGGER audit_log_{what} ON audit_log {action}")
    op.create_index("ix_requests_image_id", "requests", ["image_id", "kind", "id"])


def downgrade() -> None:
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words
    op.drop_index("ix_requests_image_id", "requests")
    for table in ("audit_log", "sign_in_tries", "sign_in_links", "sign_ins", "people"):
        op.drop_table(table)


def _people() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("disabled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 128", name=op.f("ck_people_name_length")),
        sa.CheckConstraint("role IN ('reviewer', 'lead', 'auditor')", name=op.f("ck_people_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
        sa.UniqueConstraint("name", name=op.f("uq_people_name")),
    )


def _sign_ins() -> None:
    for table, times in {"sign_ins": ("seen_at", "expires_at"), "sign_in_links": ("expires_at",)}.items():
        op.create_table(
            table,
            sa.Column("digest", sa.String(length=64), nullable=False),
            sa.Column("person_id", sa.Integer(), nullable=False),
            *(
                sa.Column(name, UtcDateTime(), server_default=None if name == "expires_at" else now(), nullable=False)
                for name in times
            ),
            sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
            sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f(f"fk_{table}_person_id")),
            sa.PrimaryKeyConstraint("digest", name=op.f(f"pk_{table}")),
        )
    op.create_index("ix_sign_ins_person_id", "sign_ins", ["person_id"])


def _tries() -> None:
    op.create_table(
        "sign_in_tries",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("address", sa.String(length=128), nullable=False),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_tries")),
    )
    op.create_index("ix_sign_in_tries_name", "sign_in_tries", ["name", "created_at"])
    op.create_index("ix_sign_in_tries_address", "sign_in_tries", ["address", "created_at"])


def _audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("who", sa.String(length=128), nullable=False),
        sa.Column("what", sa.String(length=32), nullable=False),
        sa.Column("case_id", BigId, nullable=True),
        sa.Column("image_id", sa.String(length=128), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), server_default=now(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_audit_log_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_who", "audit_log", ["who", "id"])
    op.create_index("ix_audit_log_case_id", "audit_log", ["case_id", "id"])
