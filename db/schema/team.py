"""What leads prepare for their team: notes to choose from, and how pictures are shown."""

from datetime import datetime

from sqlalchemy import String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.base import ID_LENGTH, Base
from db.schema.clock import now


class NoteTemplate(Base):
    """A reason and a note that reviewers choose by a name."""

    __tablename__ = "note_templates"
    __table_args__ = (UniqueConstraint("name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(String(64))
    note: Mapped[str]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    changed_at: Mapped[datetime] = mapped_column(server_default=now())


class PictureDefault(Base):
    """How the pictures of a policy's cases are shown to whoever chose nothing else; policy "": of all others."""

    __tablename__ = "picture_defaults"

    policy: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    pictures: Mapped[str] = mapped_column(String(16))
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    changed_at: Mapped[datetime] = mapped_column(server_default=now())
