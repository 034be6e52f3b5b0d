"""What leads prepare for reviewers: note templates, and how pictures are shown by default."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.errors import DbError, NotFoundError
from db.review.settings import ReviewSettings
from db.schema import NoteTemplate, PictureDefault
from db.schema.clock import moment
from db.store.dialect import insert

NAME_LENGTH, NOTE_LENGTH = 64, 4000
#: How pictures can be shown.
PICTURES = ("plain", "grey", "blur", "grey-blur")


def save_template(
    session: Session, settings: ReviewSettings, name: str, reason: str | None, note: str, author: str
) -> None:
    """Add a note template, or change the one of this name; raises `DbError` for a bad name, reason or note."""
    name, note = name.strip(), note.strip()
    if not 1 <= len(name) <= NAME_LENGTH or not name.isprintable():
        raise DbError(f"the name of a template needs 1 to {NAME_LENGTH} printable characters, and has {len(name)}")
    if not reason and not note:
        raise DbError(f"template {name} has neither a reason nor a note: give one")
    if len(note) > NOTE_LENGTH:
        raise DbError(f"the note has {len(note):,} characters: use at most {NOTE_LENGTH:,}")
    settings.check_reason(reason)
    values = {"reason": reason, "note": note, "author": author, "changed_at": moment()}
    statement = insert(session, NoteTemplate).values(name=name, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def remove_template(session: Session, name: str) -> None:
    """Remove a note template; decisions keep their notes. Raises `NotFoundError`."""
    gone = delete(NoteTemplate).where(NoteTemplate.name == name).returning(NoteTemplate.id)
    if session.scalar(gone) is None:
        raise NotFoundError(f"template {name} does not exist")


def list_templates(session: Session) -> Sequence[NoteTemplate]:
    """All note templates, by name."""
    return session.scalars(select(NoteTemplate).order_by(NoteTemplate.name)).all()


def set_picture_default(session: Session, policy: str, pictures: str, author: str) -> None:
    """Set how a policy's pictures are shown to whoever chose nothing else; policy "": of all other policies."""
    if pictures not in PICTURES:
        raise DbError(f"pictures {pictures!r} is not one of {', '.join(PICTURES)}")
    values = {"pictures": pictures, "author": author, "changed_at": moment()}
    statement = insert(session, PictureDefault).values(policy=policy, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["policy"], set_=values))


def picture_defaults(session: Session) -> dict[str, str]:
    """How pictures are shown, by policy; "" stands for all others."""
    rows = session.execute(select(PictureDefault.policy, PictureDefault.pictures).order_by(PictureDefault.policy))
    return {"": "plain"} | {row[0]: row[1] for row in rows}


def pictures_of(session: Session, policy: str) -> str:
    """How this policy's pictures are shown by default."""
    found = picture_defaults(session)
    return found.get(policy, found[""])
