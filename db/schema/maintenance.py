"""What the database keeps about itself: locks, the pass of retention, and the software it supports."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.base import ID_LENGTH, Base


class Lock(Base):
    """A lock on what one process does at a time, such as sweeping: its owner, its end, and when it was last renewed."""

    __tablename__ = "locks"

    name: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    owner: Mapped[str] = mapped_column(String(ID_LENGTH))
    until: Mapped[datetime]
    beat: Mapped[datetime]


class RetentionPass(Base):
    """The one way past "append-only": while a transaction has a row here it may delete; it removes the row again."""

    __tablename__ = "retention_pass"

    name: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)


class SchemaSupport(Base):
    """A revision whose software can still use this schema; migrations keep the list."""

    __tablename__ = "schema_support"

    revision: Mapped[str] = mapped_column(String(32), primary_key=True)
