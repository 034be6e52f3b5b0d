"""Training labels: what reviewers decided, photo by photo, for the next fit."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.review.effective_reviews import is_standing
from db.review.reviews import FINAL_DECISIONS
from db.schema import Case, Flag, Image, Review, Sample, Verdict


@dataclass(frozen=True, slots=True)
class TrainingLabel:
    """A photo, its account, and whether reviewers call it fake; ``source`` is "case" or "sample" (judged blind)."""

    image_id: str
    account_id: str
    url: str
    sha256: str
    policy: str
    fake: bool
    source: str


@dataclass(frozen=True, slots=True)
class TrainingLabels:
    """One label for each file, sorted by digest, and the number of files left out for contradictory labels."""

    labels: list[TrainingLabel]
    contradictory: int


def training_labels(session: Session, policy: str | None = None, since: datetime | None = None) -> TrainingLabels:
    """Labels from decided cases and judged samples, of one policy or all, decided ``since`` or ever.

    A verdict about the photo itself overrides the decision about its case. Files that got both labels are left out,
    and so are erased accounts.
    """
    photos = {label.image_id: label for label in _of_cases(session, policy, since)}
    photos |= {label.image_id: label for label in _of_samples(session, policy, since)}
    files: dict[str, list[TrainingLabel]] = {}
    for label in photos.values():
        files.setdefault(label.sha256, []).append(label)
    both = {sha256 for sha256, same in files.items() if len({label.fake for label in same}) > 1}
    kept = [same[0] for sha256, same in sorted(files.items()) if sha256 not in both]
    return TrainingLabels(kept, len(both))


def _of_cases(session: Session, policy: str | None, since: datetime | None) -> Iterator[TrainingLabel]:
    statement = _photos(policy).add_columns(Case.state)
    statement = statement.join(Flag, Flag.image_id == Image.id).join(Case, Case.id == Flag.case_id)
    statement = statement.where(Case.state.in_(FINAL_DECISIONS)).order_by(Case.id, Image.id)
    if since is not None:
        decided = select(func.max(Review.created_at)).where(Review.case_id == Case.id)
        statement = statement.where(decided.scalar_subquery() >= since)
    for row in session.execute(statement):
        yield _label(row, fake=row.state == "confirmed", source="case")


def _of_samples(session: Session, policy: str | None, since: datetime | None) -> Iterator[TrainingLabel]:
    statement = _photos(policy).add_columns(Verdict.verdict)
    statement = statement.join(Sample, Sample.image_id == Image.id).join(Verdict, Verdict.sample_id == Sample.id)
    statement = statement.where(Verdict.verdict != "unsure", is_standing()).order_by(Verdict.id)
    if since is not None:
        statement = statement.where(Verdict.created_at >= since)
    for row in session.execute(statement):
        yield _label(row, fake=row.verdict == "fake", source="sample")


def _label(row: Any, *, fake: bool, source: str) -> TrainingLabel:
    return TrainingLabel(row.id, row.account_id, row.url, row.sha256, row.policy, fake, source)


def _photos(policy: str | None) -> Select[str, str | None, str | None, str | None, str]:
    """Photos that have not been erased."""
    statement = select(Image.id, Image.account_id, Image.url, Image.sha256, Image.policy).where(
        Image.account_id.is_not(None), Image.url.is_not(None), Image.sha256.is_not(None)
    )
    return statement if policy is None else statement.where(Image.policy == policy)
