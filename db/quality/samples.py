"""Blind review: sampled photos, judged one by one without their scores. Live precision is measured on them."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, update
from sqlalchemy.orm import Session

from db.errors import ConflictError, DbError, DeniedError, HeldError, NotFoundError, SecondPersonError
from db.quality import golden
from db.review.effective_reviews import is_standing
from db.schema import UNDONE, VERDICTS, AuditEntry, Flag, GoldenItem, Image, Review, Sample, Verdict
from db.schema.clock import moment
from db.store.ids import check_id


@dataclass(frozen=True, slots=True)
class BlindSample:
    """A sampled photo as a reviewer may see it: no score, no account, no policy."""

    sample_id: int
    image_id: str


def next_sample(session: Session, reviewer: str, lease_s: float) -> BlindSample | None:
    """The photo that this reviewer should judge next, reserved for ``lease_s``; None when there is none.

    In the random order of the draw. Nobody gets a photo that they have judged, or whose case they have decided or seen
    with its scores. Raises `IdError` for a reviewer's name that is no id.
    """
    check_id("reviewer", reviewer)
    known = golden.next_golden(session, reviewer)
    mine = _next().where(Sample.held_by == reviewer, Sample.held_until > moment())
    free = _next().where(Sample.held_by.is_(None) | (Sample.held_until <= moment()), ~_knows(reviewer))
    found = session.execute(mine).first() or session.execute(_golden(known, reviewer)).first()
    found = found or session.execute(free).first()
    if found is None:
        return None
    kept = update(Sample).where(Sample.id == found.id).values(held_by=reviewer, held_until=moment(lease_s))
    session.execute(kept.execution_options(synchronize_session=False))
    return BlindSample(found.id, found.image_id)


def record_verdict(session: Session, sample_id: int, reviewer: str, verdict: str) -> Verdict:
    """Record a verdict on a sampled photo: "fake" (AI-generated), "real", or "unsure", which passes it to another.

    Only whoever was given the photo by `next_sample` may judge it: others may have seen its score. Raises
    `ConflictError` when it has a sure verdict, `HeldError` when it is reserved for somebody else, `SecondPersonError`
    when this reviewer has judged it, `DeniedError` when it was not given to them or they have seen its score since,
    `NotFoundError` for an unknown sample, and `DbError` for an unknown verdict.
    """
    if verdict not in VERDICTS:
        raise DbError(f"verdict {verdict!r} is not one of {', '.join(VERDICTS)}")
    sample = session.scalar(select(Sample).where(Sample.id == sample_id).with_for_update())
    if sample is None:
        raise NotFoundError(f"sample {sample_id} is not in the record")
    _check(session, sample, check_id("reviewer", reviewer))
    row = Verdict(sample_id=sample.id, reviewer=reviewer, verdict=verdict, turn=_turn(session, sample.id, reviewer))
    session.add(row)
    session.flush()  # first: on PostgreSQL a reviewer's login may add it only while it holds the sample
    sample.judged = sample.judged or verdict != "unsure"  # a golden sample stays judged
    sample.held_by = sample.held_until = None
    session.flush()
    return row


def _golden(sample_id: int | None, reviewer: str) -> Select[int, str]:
    """A golden sample that nobody holds, unless this reviewer knows its photo's score."""
    statement = select(Sample.id, Sample.image_id).where(Sample.id == sample_id, ~_knows(reviewer))
    return statement.where(Sample.held_by.is_(None) | (Sample.held_by == reviewer) | (Sample.held_until <= moment()))


def undo_verdict(session: Session, sample_id: int, reviewer: str, lease_s: float) -> Verdict:
    """Undo this reviewer's verdict on a sample, which is theirs again for ``lease_s``.

    Raises `ConflictError` when they have given none, or when somebody else has judged the sample since, `HeldError`
    when it is reserved for somebody else, and `NotFoundError`.
    """
    sample = session.scalar(select(Sample).where(Sample.id == sample_id).with_for_update())
    if sample is None:
        raise NotFoundError(f"sample {sample_id} is not in the record")
    require_sample_not_held(session, sample, check_id("reviewer", reviewer))
    given = _standing(sample_id).order_by(Verdict.id.desc()).limit(1)
    last = session.scalar(given)
    if last is None or last.reviewer != reviewer:
        raise ConflictError(f"the last verdict on sample {sample_id} is not {reviewer}'s: there is nothing to undo")
    sample.held_by, sample.held_until = reviewer, moment(lease_s)
    session.flush()  # first: on PostgreSQL a reviewer's login may add rows only while it holds the sample
    turn = _turn(session, sample_id, reviewer)
    row = Verdict(sample_id=sample_id, reviewer=reviewer, verdict=UNDONE, undoes=last.id, turn=turn)
    session.add(row)
    session.flush()
    sure = _standing(sample_id).where(Verdict.verdict != "unsure").limit(1)
    sample.judged = session.scalar(sure) is not None  # a golden sample stays judged
    session.flush()
    return row


def verdict_by(session: Session, sample_id: int, reviewer: str) -> Verdict | None:
    """This reviewer's verdict on a sample, if they have not undone it."""
    return session.scalar(_standing(sample_id).where(Verdict.reviewer == reviewer))


def require_sample_not_held(session: Session, sample: Sample, reviewer: str) -> None:
    """Raises `HeldError` while a sample is reserved for another reviewer."""
    held = select(Sample.held_by, Sample.held_until).where(Sample.id == sample.id, Sample.held_by != reviewer)
    other = session.execute(held.where(Sample.held_until > moment())).one_or_none()
    if other is not None:
        raise HeldError(f"sample {sample.id} is held by {other.held_by} until {other.held_until:%F %T} UTC")


def unjudged_photos(session: Session, image_ids: Collection[str]) -> set[str]:
    """Those of these photos that somebody is still to judge blind: lists do not show them beside their scores."""
    golden_ids = select(GoldenItem.sample_id)
    waiting = select(Sample.image_id).where(Sample.image_id.in_(image_ids))
    return set(session.scalars(waiting.where(~Sample.judged | Sample.id.in_(golden_ids))))


def _standing(sample_id: int) -> Select[Verdict]:
    return select(Verdict).where(Verdict.sample_id == sample_id, is_standing())


def _turn(session: Session, sample_id: int, reviewer: str) -> int:
    rows = select(func.count(Verdict.id)).where(Verdict.sample_id == sample_id, Verdict.reviewer == reviewer)
    return session.scalar(rows) or 0


def count_waiting(session: Session) -> int:
    """How many sampled photos wait for a sure verdict."""
    return session.scalar(select(func.count()).select_from(_open().subquery())) or 0


def _open() -> Select[int, str]:
    """Samples without a sure verdict; those of erased accounts cannot be shown any more."""
    statement = select(Sample.id, Sample.image_id).join(Image, Image.id == Sample.image_id)
    return statement.where(~Sample.judged, Image.url.is_not(None))


def _next() -> Select[int, str]:
    return _open().order_by(Sample.id).limit(1).with_for_update(of=Sample, skip_locked=True)


def _knows(reviewer: str) -> ColumnElement[bool]:
    """Whether this reviewer has judged the photo, or decided or seen a case that showed its score."""
    judged = exists().where(Verdict.sample_id == Sample.id, Verdict.reviewer == reviewer, is_standing())
    decided = select(Review.id).join(Flag, Flag.case_id == Review.case_id).where(Review.reviewer == reviewer)
    seen = select(AuditEntry.id).join(Flag, Flag.case_id == AuditEntry.case_id).where(AuditEntry.who == reviewer)
    seen = seen.where(AuditEntry.what == "viewed", AuditEntry.detail.is_(None))  # the detail "blind": without scores
    of_photo = [exists(each.where(Flag.image_id == Sample.image_id).correlate(Sample)) for each in (decided, seen)]
    return or_(judged, *of_photo)


def _check(session: Session, sample: Sample, reviewer: str) -> None:
    if sample.judged and not (golden.is_golden(session, sample.id) and sample.held_by == reviewer):
        raise ConflictError(f"sample {sample.id} has been judged already")
    require_sample_not_held(session, sample, reviewer)
    before = verdict_by(session, sample.id, reviewer)
    if before is not None:
        raise SecondPersonError(
            f"sample {sample.id}: {reviewer} has judged it ({before.verdict}); somebody else must now"
        )
    if sample.held_by != reviewer or session.scalar(select(Sample.id).where(Sample.id == sample.id, _knows(reviewer))):
        raise DeniedError(
            f"sample {sample.id} was not given to {reviewer}, or its score is known to them: take the next one "
            "with `unmask review sample`"
        )


def release_sample(session: Session, sample_id: int, reviewer: str) -> bool:
    """End a reviewer's lease of a sample; returns whether they held it."""
    released = update(Sample).where(Sample.id == sample_id, Sample.held_by == reviewer).returning(Sample.id)
    released = released.values(held_by=None, held_until=None).execution_options(synchronize_session=False)
    return session.scalar(released) is not None
