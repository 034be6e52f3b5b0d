"""Small pictures in lists: the first flagged photo of each case, for people who may see it."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.access.actors import DECIDERS
from db.console.web.context import PageContext
from db.quality.samples import unjudged_photos
from db.review import team
from db.schema import Case, Flag
from db.work import previews
from db.work.previews import PHOTO, PictureState


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """The flag of a case's first photo, the state of its picture, and how pictures of its policy are shown."""

    flag_id: int
    picture: PictureState
    pictures: str


def list_thumbnails(session: Session, page: PageContext, cases: Collection[Case]) -> dict[int, Thumbnail]:
    """Thumbnails by case. Restricted cases have none, nor do photos that somebody is still to judge blind.

    The photo is the one that was flagged first: the highest score's would tell which that is.
    """
    if page.user.role not in DECIDERS:
        return {}
    policies = {case.id: case.policy for case in cases if case.restricted is None and case.account_id is not None}
    flags = _first_flags(session, policies)
    photos = {image_id for _, _, image_id in flags}
    hidden, states = unjudged_photos(session, photos), previews.picture_states(session, photos, PHOTO)
    defaults, chosen = team.picture_defaults(session), page.preferences.pictures
    return {
        case_id: Thumbnail(
            flag_id,
            states[image_id],
            defaults.get(policies[case_id], defaults[""]) if chosen == "team" else chosen,
        )
        for case_id, flag_id, image_id in flags
        if image_id not in hidden
    }


def request_thumbnails(session: Session, found: Iterable[Thumbnail | None], author: str) -> None:
    """Request the pictures that nobody has requested yet."""
    previews.request_missing(session, [one.picture for one in found if one is not None], author)


def _first_flags(session: Session, case_ids: Collection[int]) -> Sequence[tuple[int, int, str]]:
    first = select(func.min(Flag.id)).where(Flag.case_id.in_(case_ids)).group_by(Flag.case_id)
    rows = session.execute(select(Flag.case_id, Flag.id, Flag.image_id).where(Flag.id.in_(first)))
    return [(case_id, flag_id, image_id) for case_id, flag_id, image_id in rows]
