"""Who may come into the console, and what they saw and did there."""

from datetime import datetime

from sqlalchemy import ForeignKey, Identity, Index, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.clock import now
from db.schema.base import ID_LENGTH, Base, BigId, length, one_of

ROLES = ("reviewer", "lead", "auditor")


class Person(Base):
    """Somebody who may sign in to the console. Only ever disabled: reviews and the audit log quote the name."""

    __tablename__ = "people"
    __table_args__ = (UniqueConstraint("name"), length("name"), one_of("role", ROLES))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    role: Mapped[str] = mapped_column(String(16))
    #: As argon2 writes it; null: signs in by link, or through a trusted proxy.
    password: Mapped[str | None]
    disabled: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    changed_at: Mapped[datetime] = mapped_column(server_default=now())


class SignIn(Base):
    """A browser that somebody signed in with. Only the token's SHA-256 is here: who reads it cannot be that browser."""

    __tablename__ = "sign_ins"
    __table_args__ = (Index("ix_sign_ins_person_id", "person_id"),)

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    #: It ends when nothing was heard of it for a while, and at ``expires_at`` at the latest.
    seen_at: Mapped[datetime] = mapped_column(server_default=now())
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class SignInLink(Base):
    """A link that signs somebody in once; using it deletes it. Of its token, too, only the SHA-256 is here."""

    __tablename__ = "sign_in_links"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class SignInTry(Base):
    """A password that was wrong, or is being looked at; kept for as long as it is counted."""

    __tablename__ = "sign_in_tries"
    __table_args__ = (
        Index("ix_sign_in_tries_name", "name", "created_at"),
        Index("ix_sign_in_tries_address", "address", "created_at"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    address: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class AuditEntry(Base):
    """Something that somebody saw or did in the console. Append-only; names cases and images, and no account."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_who", "who", "id"),
        Index("ix_audit_log_case_id", "case_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    who: Mapped[str] = mapped_column(String(ID_LENGTH))
    #: A code that can be counted: "viewed", "decided", "signed_in" ...
    what: Mapped[str] = mapped_column(String(32))
    case_id: Mapped[int | None] = mapped_column(ForeignKey("cases.id"))
    #: No foreign key: retention deletes images, and the entry stays.
    image_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    detail: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())
