"""The outbox: images that are *due* to be sent to workers: their next attempt is due, and no worker leases them."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum

from sqlalchemy import ColumnElement, Float, String, case, column, func, select, true, update
from sqlalchemy.orm import Session

from db.schema import Image, Policy
from db.schema.clock import moment
from db.schema.soundness import is_sound
from db.store.dialect import given
from db.work import odd_rows
from db.work.images import not_leased
from db.work.odd_rows import OddImage

#: An image that has been due for more seconds, because nobody could send it, is backlog: new uploads go first.
FRESH_S = 60.0


class Lane(Enum):
    """The order in which images are sent, whatever the order of their arrival."""

    #: Somebody waits for the score.
    UPLOAD = "upload"
    #: Uploads that an outage left behind.
    BACKLOG = "backlog"
    #: Nobody waits for the score: imports, manifests.
    BACKFILL = "backfill"

    @property
    def column(self) -> str:
        """The value of ``images.lane`` for an image of this lane."""
        return "backfill" if self is Lane.BACKFILL else "upload"


@dataclass(frozen=True, slots=True)
class ResendBackoff:
    """The pause before an image that nobody leased is sent again. It doubles each time."""

    first_s: float
    longest_s: float

    def after(self, sends: int) -> float:
        """The pause in seconds after this many sends, with jitter: images lost together do not return together."""
        return min(self.first_s * 2.0 ** min(sends, 30), self.longest_s) * random.uniform(0.9, 1.1)  # noqa: S311


@dataclass(slots=True)
class Taken:
    """Images that were due: the ids of those to send, and the odd ones, which have failed."""

    ids: list[str] = field(default_factory=list)
    odd: list[OddImage] = field(default_factory=list)

    def add(self, other: "Taken") -> None:
        """Add those that another query took."""
        self.ids += other.ids
        self.odd += other.odd


def take_due_images(session: Session, lane: Lane, limit: int, backoff: ResendBackoff) -> Taken:
    """Take up to ``limit`` due images of a lane, to send now; each is due again after its pause unless leased.

    Policies whose images wait share the limit by their weights (weighted round robin). Within a policy, images go in
    the order in which they became due. The others get the share that a policy does not use. An odd row that is due
    fails here, in its own place: it is no other image's turn.
    """
    taken = Taken()
    shares = _shares(session, limit)
    while shares and len(taken.ids) < limit:
        used_up = {}
        for policy, share in shares.items():
            found = _take_of(session, lane, policy, min(share, limit - len(taken.ids)), backoff)
            taken.add(found)
            if len(found.ids) + len(found.odd) == share:
                used_up[policy] = share
        shares = used_up
    return taken


def any_upload_due(session: Session) -> bool:
    """Whether somebody waits for an image that should be sent now."""
    recently = Image.next_attempt_at > moment(-FRESH_S)
    found = select(Image.id).where(*_due(), Image.lane == Lane.UPLOAD.column, recently).limit(1)
    return session.scalar(found) is not None


def fail_lost_images(session: Session, max_losses: int, deadline_s: float) -> list[str]:
    """Fail images whose workers were lost ``max_losses`` times; returns their ids.

    Only images at least ``deadline_s`` old: while all workers die repeatedly, no image is to blame.
    """
    statement = (
        update(Image)
        .where(*_due(), Image.losses >= max_losses, Image.created_at <= moment(-deadline_s))
        .values(
            state="failed",
            reason="worker_lost",
            detail=f"{max_losses} workers were lost while they had leased it",
            lease_owner=None,
            lease_until=None,
            changed_at=moment(),
        )
        .returning(Image.id)
        .execution_options(synchronize_session=False)
    )
    return list(session.scalars(statement))


def return_unsent_images(session: Session, image_ids: Collection[str], pause_s: float) -> None:
    """Make images that could not be sent due again after ``pause_s``, without counting the send."""
    ours = (
        select(Image.id)
        .where(Image.id.in_(image_ids), Image.state == "pending", Image.sends > 0)
        .with_for_update(skip_locked=True)
    )
    statement = update(Image).where(Image.id.in_(ours))
    change = {"sends": Image.sends - 1, "next_attempt_at": moment(pause_s)}
    session.execute(statement.values(change).execution_options(synchronize_session=False))


def lag_s(session: Session) -> float:
    """For how many seconds the longest due image has waited to be sent; 0 when none is due."""
    oldest, now = session.execute(select(func.min(Image.next_attempt_at), moment()).where(*_due())).one()
    return max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0


def _shares(session: Session, limit: int) -> dict[str, int]:
    """How many of ``limit`` images each policy may send in one round; at least one."""
    weights = session.execute(select(Policy.name, Policy.weight).order_by(Policy.name)).all()
    total = sum(weight for _, weight in weights)
    return {name: max(1, limit * weight // total) for name, weight in weights}


def _take_of(session: Session, lane: Lane, policy: str, limit: int, backoff: ResendBackoff) -> Taken:
    recently = Image.next_attempt_at > moment(-FRESH_S)
    which = {Lane.UPLOAD: recently, Lane.BACKLOG: ~recently, Lane.BACKFILL: true()}[lane]
    sound, place = is_sound(Image.id), odd_rows.row_place(session)
    statement = (
        select(case((sound, Image.id)), case((sound, Image.sends)), place)
        .where(*_due(or_free_never=True), Image.lane == lane.column, Image.policy == policy, which)
        .order_by(Image.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = session.execute(statement).all()
    found = [(image_id, backoff.after(sends)) for image_id, sends, _ in rows if image_id is not None]
    if found:
        _postpone(session, found)
    odd = odd_rows.fail_odd(session, [at for image_id, _, at in rows if image_id is None])
    return Taken([image_id for image_id, _ in found], odd)


def _due(*, or_free_never: bool = False) -> tuple[ColumnElement[bool], ...]:
    """``or_free_never``: also where a lease ends so late that it never does."""
    free = not_leased() | odd_rows.is_far(Image.lease_until) if or_free_never else not_leased()
    return Image.state == "pending", Image.next_attempt_at <= moment(), free


def _postpone(session: Session, pauses: Sequence[tuple[str, float]]) -> None:
    rows = given(session, [column("id", String), column("pause_s", Float)], pauses)
    statement = (
        update(Image).where(Image.id == rows.c.id).values(next_attempt_at=moment(rows.c.pause_s), sends=Image.sends + 1)
    )
    session.connection().execute(statement)
