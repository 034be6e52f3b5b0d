"""What is known about a case's account, for whoever decides: its photos, and its other cases."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.errors import NotFoundError
from db.schema import Case, Flag, Image, ModelVersion, Score, Threshold

#: Of an account's other cases, at most so many are told.
_OTHERS = 50


@dataclass(frozen=True, slots=True)
class FlaggedPhoto:
    """A flagged photo of a case, with what flagged it."""

    flag_id: int
    image: Image
    score: Score
    threshold: Threshold
    version: ModelVersion


@dataclass(frozen=True, slots=True)
class History:
    """How long an account has been seen, with how many photos, and its other cases, the latest first."""

    photos: int
    since: datetime | None
    cases: list[Case]


def photos(session: Session, case_id: int) -> list[FlaggedPhoto]:
    """A case's flagged photos, the highest score first; of a photo that two models flagged, both."""
    return [FlaggedPhoto(*row) for row in session.execute(_photos().where(Flag.case_id == case_id))]


def photo(session: Session, case_id: int, flag_id: int) -> FlaggedPhoto:
    """One of them; raises `NotFoundError`."""
    row = session.execute(_photos().where(Flag.case_id == case_id, Flag.id == flag_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"case {case_id} has no flag {flag_id}")
    return FlaggedPhoto(*row)


def history(session: Session, case: Case) -> History:
    """What else is known of the account; nothing once it was erased."""
    if case.account_id is None:
        return History(0, None, [])
    counted = select(func.count(Image.id), func.min(Image.created_at)).where(Image.account_id == case.account_id)
    count, since = session.execute(counted).one()
    others = select(Case).where(Case.account_id == case.account_id, Case.id != case.id)
    return History(count, since, list(session.scalars(others.order_by(Case.id.desc()).limit(_OTHERS))))


def _photos() -> Select[int, Image, Score, Threshold, ModelVersion]:
    return (
        select(Flag.id, Image, Score, Threshold, ModelVersion)
        .join(Image, Image.id == Flag.image_id)
        .join(Score, Score.id == Flag.score_id)
        .join(Threshold, Threshold.id == Flag.threshold_id)
        .join(ModelVersion, ModelVersion.id == Score.version_id)
        .order_by(Score.score.desc(), Flag.id)
    )
