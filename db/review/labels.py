"""What people decided, photo by photo: labels that the next fit can learn from."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.review.reviews import DECIDED
from db.schema import Case, Flag, Image, Review, Sample, Verdict


@dataclass(frozen=True, slots=True)
class Label:
    """A photo, whose it is, and what people say it is; ``source``: of a "case", or blind, of a "sample"."""

    image_id: str
    account_id: str
    url: str
    sha256: str
    policy: str
    fake: bool
    source: str


@dataclass(frozen=True, slots=True)
class Labels:
    """One label for each file, in the order of their digests, and how many files were given both."""

    labels: list[Label]
    contradictory: int


def labels(session: Session, policy: str | None = None, since: datetime | None = None) -> Labels:
    """Of photos of cases that are decided now, and of judged samples: of one policy, or decided since.

    What somebody said of the photo itself counts more than what was said of its case. A file that is both is left out,
    and so is an account that was erased.
    """
    photos = {label.image_id: label for label in _of_cases(session, policy, since)}
    photos |= {label.image_id: label for label in _of_samples(session, policy, since)}
    files: dict[str, list[Label]] = {}
    for label in photos.values():
        files.setdefault(label.sha256, []).append(label)
    both = {sha256 for sha256, same in files.items() if len({label.fake for label in same}) > 1}
    kept = [same[0] for sha256, same in sorted(files.items()) if sha256 not in both]
    return Labels(kept, len(both))


def _of_cases(session: Session, policy: str | None, since: datetime | None) -> Iterator[Label]:
    statement = _photos(policy).add_columns(Case.state)
    statement = statement.join(Flag, Flag.image_id == Image.id).join(Case, Case.id == Flag.case_id)
    statement = statement.where(Case.state.in_(DECIDED)).order_by(Case.id, Image.id)
    if since is not None:
        decided = select(func.max(Review.created_at)).where(Review.case_id == Case.id)
        statement = statement.where(decided.scalar_subquery() >= since)
    for row in session.execute(statement):
        yield _label(row, fake=row.state == "confirmed", source="case")


def _of_samples(session: Session, policy: str | None, since: datetime | None) -> Iterator[Label]:
    statement = _photos(policy).add_columns(Verdict.verdict)
    statement = statement.join(Sample, Sample.image_id == Image.id).join(Verdict, Verdict.sample_id == Sample.id)
    statement = statement.where(Verdict.verdict != "unsure").order_by(Verdict.id)
    if since is not None:
        statement = statement.where(Verdict.created_at >= since)
    for row in session.execute(statement):
        yield _label(row, fake=row.verdict == "fake", source="sample")


def _label(row: Any, *, fake: bool, source: str) -> Label:
    return Label(row.id, row.account_id, row.url, row.sha256, row.policy, fake, source)


def _photos(policy: str | None) -> Select[str, str | None, str | None, str | None, str]:
    """Those that can still be had."""
    statement = select(Image.id, Image.account_id, Image.url, Image.sha256, Image.policy).where(
        Image.account_id.is_not(None), Image.url.is_not(None), Image.sha256.is_not(None)
    )
    return statement if policy is None else statement.where(Image.policy == policy)
