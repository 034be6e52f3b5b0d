"""What the record keeps of itself."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.base import ID_LENGTH, Base


class Lock(Base):
    """What one process does at a time, such as sweeping: who may, until when, and when it last did."""

    __tablename__ = "locks"

    name: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    owner: Mapped[str] = mapped_column(String(ID_LENGTH))
    until: Mapped[datetime]
    beat: Mapped[datetime]


class RetentionPass(Base):
    """The one way past "append-only": a transaction with a row here may delete. The row goes before it commits."""

    __tablename__ = "retention_pass"

    name: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)


class SchemaSupport(Base):
    """A revision whose software may still use this schema; kept by migrations."""

    __tablename__ = "schema_support"

    revision: Mapped[str] = mapped_column(String(32), primary_key=True)
