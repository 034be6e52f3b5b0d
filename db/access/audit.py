"""The audit log: who saw and did what in the console. It names cases and images, and no account."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.schema import ID_LENGTH, AuditEntry


def note(
    session: Session,
    who: str,
    what: str,
    *,
    case_id: int | None = None,
    image_id: str | None = None,
    detail: str | None = None,
) -> None:
    """Write down one thing, in the transaction in which it happens."""
    session.add(AuditEntry(who=who[:ID_LENGTH], what=what, case_id=case_id, image_id=image_id, detail=detail))


def entries(
    session: Session,
    limit: int,
    *,
    before: int | None = None,
    who: str | None = None,
    what: str | None = None,
    case_id: int | None = None,
) -> list[AuditEntry]:
    """The latest first, those before an entry's id; of one person, kind or case, or of all."""
    statement = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    given = {AuditEntry.who: who, AuditEntry.what: what, AuditEntry.case_id: case_id}
    for column, value in given.items():
        if value is not None:
            statement = statement.where(column == value)
    if before is not None:
        statement = statement.where(AuditEntry.id < before)
    return list(session.scalars(statement))
