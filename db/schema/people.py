"""People who may sign in to the console, and what they saw and did there."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Identity, Index, String, Text, UniqueConstraint, false
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from db.schema.base import ID_LENGTH, Base, BigId, length, one_of
from db.schema.clock import now

ROLES = ("reviewer", "lead", "auditor")


class Person(Base):
    """Somebody who may sign in to the console. Disabled, never deleted: reviews and the audit log hold the name."""

    __tablename__ = "people"
    __table_args__ = (UniqueConstraint("name"), length("name"), one_of("role", ROLES))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    role: Mapped[str] = mapped_column(String(16))
    #: An argon2 hash; null: signs in by link, or through a trusted proxy.
    password: Mapped[str | None]
    disabled: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    changed_at: Mapped[datetime] = mapped_column(server_default=now())


class SignIn(Base):
    """A session of a browser. Only the token's SHA-256 is stored: whoever reads it cannot take over the session."""

    __tablename__ = "sign_ins"
    __table_args__ = (Index("ix_sign_ins_person_id", "person_id"),)

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    #: The session at the OpenID provider that it came from; null: signed in here.
    provider_session: Mapped[str | None]
    #: It ends after a while without a request, and at ``expires_at`` at the latest.
    seen_at: Mapped[datetime] = mapped_column(server_default=now())
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class ProviderIdentity(Base):
    """Whom an OpenID provider calls by a subject. The subject never changes, whatever name the provider shows."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("person_id"), one_of("role", ROLES))

    issuer: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    #: What the groups there gave at the last sign-in. A trigger makes it the person's role, and nobody else's.
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class SignInLink(Base):
    """A link that signs somebody in once; using it deletes it. Of its token, too, only the SHA-256 is stored."""

    __tablename__ = "sign_in_links"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class SignInTry(Base):
    """A sign-in with a wrong password, or one in progress; kept as long as the rate limit counts it."""

    __tablename__ = "sign_in_tries"
    __table_args__ = (
        Index("ix_sign_in_tries_name", "name", "created_at"),
        Index("ix_sign_in_tries_address", "address", "created_at"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    address: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class KnownAddress(Base):
    """An address from which somebody signed in: a stranger's wrong passwords do not lock them out there."""

    __tablename__ = "known_addresses"

    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True)
    address: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(server_default=now())


class session_user(FunctionElement[str]):  # noqa: N801 - named like the SQL function that it is
    """The login of the database connection, as a column's default; null on SQLite, which has none."""

    type = Text()
    inherit_cache = True


@compiles(session_user, "sqlite")
def _sqlite_user(element: session_user, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ARG001
    return "NULL"


@compiles(session_user, "postgresql")
def _postgresql_user(element: session_user, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ARG001
    return "SESSION_USER"


class AuditEntry(Base):
    """Something that somebody saw or did in the console. Append-only; names cases and images, but no account."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_who", "who", "id"),
        Index("ix_audit_log_case_id", "case_id", "id"),
        Index("ix_audit_log_what", "what", "id"),
        Index("ix_audit_log_created_at", "created_at", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    who: Mapped[str] = mapped_column(String(ID_LENGTH))
    #: A code to count by: "viewed", "decided", "signed_in" ...
    what: Mapped[str] = mapped_column(String(32))
    case_id: Mapped[int | None] = mapped_column(ForeignKey("cases.id"))
    #: No foreign key: retention deletes images, but the entry stays.
    image_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    #: The database login that wrote the entry, by PostgreSQL itself: no login can write another's. Null on SQLite.
    login: Mapped[str | None] = mapped_column(server_default=session_user())
    detail: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())
