"""Comparing two versions on the images that both have scored, at the same false positive rate on real photos."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, Subquery, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from db.errors import DbError
from db.models import references
from db.policy.threshold_choice import choose_by_fpr
from db.schema import Image, ModelVersion, Score
from db.stats.intervals import Estimate, wilson


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An account that only one of two versions flags, with the highest score that each gave to its photos."""

    account_id: str | None
    policy: str
    first: float
    second: float
    flagged_by: str


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """Thresholds at one FPR; of the ``images`` with both scores, how many each flags, and how often they differ."""

    fpr: float
    thresholds: tuple[float, float]
    images: int
    both: int
    only_first: int
    only_second: int
    disagreement: Estimate
    accounts: list[Disagreement]


def compare_versions(
    session: Session, first: ModelVersion, second: ModelVersion, fpr: float, reference: str | None = None
) -> VersionComparison:
    """Put both at one FPR on the same reference set (or each on its card's) and count.

    Raises `DbError` when a reference set is too small for the rate, or no image has scores of both.
    """
    values = [choose_by_fpr(references.reals_of(session, version, reference), fpr).value for version in (first, second)]
    images = _with_both(session, first, second)
    if images == 0:
        raise DbError(f"no image has scores of both {first.name} and {second.name}: make one the shadow, or rescore")
    flagged = _flagged(first, second, values).subquery()
    by_first, by_second = flagged.c.first >= values[0], flagged.c.second >= values[1]
    both, only_first, only_second = (
        _count(session, flagged, condition)
        for condition in (and_(by_first, by_second), and_(by_first, ~by_second), and_(~by_first, by_second))
    )
    return VersionComparison(
        fpr=fpr,
        thresholds=(values[0], values[1]),
        images=images,
        both=both,
        only_first=only_first,
        only_second=only_second,
        disagreement=wilson(only_first + only_second, images),
        accounts=_accounts(session, flagged, values, (first.name, second.name)),
    )


def _with_both(session: Session, first: ModelVersion, second: ModelVersion) -> int:
    theirs = aliased(Score)
    statement = select(func.count(Score.id)).join(theirs, theirs.image_id == Score.image_id)
    return session.scalar(statement.where(Score.version_id == first.id, theirs.version_id == second.id)) or 0


def _flagged(first: ModelVersion, second: ModelVersion, values: list[float]) -> Select[str | None, str, float, float]:
    """Images with both scores that at least one version flags."""
    ours, theirs, found = aliased(Score), aliased(Score), aliased(Score)
    ids = select(found.image_id).where(
        or_(
            and_(found.version_id == first.id, found.score >= values[0]),
            and_(found.version_id == second.id, found.score >= values[1]),
        )
    )
    return (
        select(Image.account_id, Image.policy, ours.score.label("first"), theirs.score.label("second"))
        .join(ours, and_(ours.image_id == Image.id, ours.version_id == first.id))
        .join(theirs, and_(theirs.image_id == Image.id, theirs.version_id == second.id))
        .where(Image.id.in_(ids))
    )


def _count(session: Session, flagged: Subquery, condition: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(flagged).where(condition)) or 0


def _accounts(session: Session, flagged: Subquery, values: list[float], names: tuple[str, str]) -> list[Disagreement]:
    """Accounts that only one version flags, as far as their photos have both scores."""
    first, second = func.max(flagged.c.first), func.max(flagged.c.second)
    statement = (
        select(flagged.c.account_id, flagged.c.policy, first, second)
        .where(flagged.c.account_id.is_not(None))
        .group_by(flagged.c.account_id, flagged.c.policy)
        .having((first >= values[0]) != (second >= values[1]))
        .order_by(flagged.c.account_id, flagged.c.policy)
    )
    return [
        Disagreement(row[0], row[1], row[2], row[3], names[0] if row[2] >= values[0] else names[1])
        for row in session.execute(statement)
    ]
