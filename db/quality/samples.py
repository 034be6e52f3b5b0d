"""Photos that chance drew, shown to people one by one without their scores: what live precision is measured on."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, exists, func, select, update
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.errors import ConflictError, DbError, HeldError, NotFoundError, SecondPersonError
from db.work.images import check_id
from db.schema import VERDICTS, Flag, Image, Review, Sample, Verdict


@dataclass(frozen=True, slots=True)
class Blind:
    """A sampled photo as a reviewer may see it: no score, no account, no policy."""

    sample_id: int
    image_id: str


def next_sample(session: Session, reviewer: str, lease_s: float) -> Blind | None:
    """The photo that this person should judge next, kept for them for ``lease_s``; None when there is none.

    In the order of the draw, which is random. Nobody is given a photo that they have judged or decided a case about.
    """
    check_id("reviewer", reviewer)
    mine = _next().where(Sample.held_by == reviewer, Sample.held_until > moment())
    free = _next().where(Sample.held_by.is_(None) | (Sample.held_until <= moment()), ~_knows(reviewer))
    found = session.execute(mine).first() or session.execute(free).first()
    if found is None:
        return None
    kept = update(Sample).where(Sample.id == found.id).values(held_by=reviewer, held_until=moment(lease_s))
    session.execute(kept.execution_options(synchronize_session=False))
    return Blind(found.id, found.image_id)


def judge(session: Session, sample_id: int, reviewer: str, verdict: str) -> Verdict:
    """Enter what a person says of a sampled photo: "fake" (AI-generated), "real" or "unsure", which asks another.

    Raises `ConflictError` when somebody was sure before, `HeldError` when it is with somebody else, and
    `SecondPersonError` when this person has said something already.
    """
    if verdict not in VERDICTS:
        raise DbError(f"verdict {verdict!r} is not one of {', '.join(VERDICTS)}")
    sample = session.scalar(select(Sample).where(Sample.id == sample_id).with_for_update())
    if sample is None:
        raise NotFoundError(f"sample {sample_id} is not in the record")
    _check(session, sample, check_id("reviewer", reviewer))
    row = Verdict(sample_id=sample.id, reviewer=reviewer, verdict=verdict)
    session.add(row)
    sample.judged, sample.held_by, sample.held_until = verdict != "unsure", None, None
    session.flush()
    return row


def waiting(session: Session) -> int:
    """How many photos are to be judged."""
    return session.scalar(select(func.count()).select_from(_open().subquery())) or 0


def _open() -> Select[int, str]:
    """Nobody was sure of them yet; those whose account was erased meanwhile are lost."""
    statement = select(Sample.id, Sample.image_id).join(Image, Image.id == Sample.image_id)
    return statement.where(~Sample.judged, Image.url.is_not(None))


def _next() -> Select[int, str]:
    return _open().order_by(Sample.id).limit(1).with_for_update(of=Sample, skip_locked=True)


def _knows(reviewer: str) -> ColumnElement[bool]:
    """Whether they have judged the photo, or decided a case that showed its score."""
    judged = exists().where(Verdict.sample_id == Sample.id, Verdict.reviewer == reviewer)
    decided = select(Review.id).join(Flag, Flag.case_id == Review.case_id)
    return judged | exists(
        decided.where(Flag.image_id == Sample.image_id, Review.reviewer == reviewer).correlate(Sample)
    )


def _check(session: Session, sample: Sample, reviewer: str) -> None:
    if sample.judged:
        raise ConflictError(f"sample {sample.id} is judged: somebody was sure")
    held = select(Sample.held_by, Sample.held_until).where(Sample.id == sample.id, Sample.held_by != reviewer)
    other = session.execute(held.where(Sample.held_until > moment())).one_or_none()
    if other is not None:
        raise HeldError(f"sample {sample.id} is with {other.held_by} until {other.held_until:%F %T} UTC")
    before = select(Verdict.verdict).where(Verdict.sample_id == sample.id, Verdict.reviewer == reviewer)
    said = session.scalar(before)
    if said is not None:
        raise SecondPersonError(f"sample {sample.id}: {reviewer} said {said}, and somebody else judges it now")
