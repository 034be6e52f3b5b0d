"""Search for accounts and images by how their ids begin, flagged or not, whatever the letter case."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.review.cases import CaseSummary, summarise
from db.schema import Case, Flag, Image

_LIKE_ESCAPE = "\\"
_MAX_CASE_DIGITS = 18


@dataclass(frozen=True, slots=True)
class FoundImage:
    """A photo, and the latest case in which it is flagged; without its score, since people may search blind."""

    image: Image
    case_id: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """Cases and images; ``more`` where there are more of either than were asked for."""

    cases: list[CaseSummary]
    images: list[FoundImage]
    more: bool


def search(session: Session, text: str, limit: int) -> Found:
    """Accounts and images whose id begins with this text, and the case of this number; exact matches first."""
    cases = _cases(session, text, limit + 1)
    images = _images(session, text, limit + 1)
    more = len(cases) > limit or len(images) > limit
    return Found(summarise(session, cases[:limit]), _with_cases(session, images[:limit]), more)


def _cases(session: Session, text: str, limit: int) -> list[Case]:
    begins = _begins(session, Case.account_id, text)
    by_account = select(Case).where(begins).order_by(func.lower(Case.account_id), Case.id.desc()).limit(limit)
    found = list(session.scalars(by_account))
    by_number = session.get(Case, int(text)) if text.isdecimal() and len(text) <= _MAX_CASE_DIGITS else None
    others = [case for case in found if by_number is None or case.id != by_number.id]
    return [*([by_number] if by_number is not None else []), *others]


def _images(session: Session, text: str, limit: int) -> list[Image]:
    """By id and by account in two statements: each uses its own index."""
    found: dict[str, Image] = {}
    for column in (Image.id, Image.account_id):
        begins = _begins(session, column, text)
        statement = select(Image).where(begins).order_by(func.lower(column), Image.id).limit(limit)
        found |= {image.id: image for image in session.scalars(statement)}
    return sorted(found.values(), key=lambda image: text.lower() not in (image.id.lower(), _lower(image.account_id)))[
        :limit
    ]


def _lower(text: str | None) -> str:
    return (text or "").lower()


def _with_cases(session: Session, images: Sequence[Image]) -> list[FoundImage]:
    flagged = select(Flag.image_id, func.max(Flag.case_id)).where(Flag.image_id.in_([image.id for image in images]))
    cases: dict[str, int] = dict(session.execute(flagged.group_by(Flag.image_id)).all())
    return [FoundImage(image, cases.get(image.id)) for image in images]


def _begins(
    session: Session, column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None], text: str
) -> ColumnElement[bool]:
    """SQLite's LIKE ignores the case of ASCII letters by itself; PostgreSQL has an index of the lower case."""
    pattern = text.lower().replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
    compared = func.lower(column) if session.get_bind().dialect.name == "postgresql" else column
    return compared.like(pattern, escape=_LIKE_ESCAPE)
