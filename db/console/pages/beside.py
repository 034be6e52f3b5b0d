"""Photos to compare a case with: copies of its photos in other cases, and the account's other photos."""

from dataclasses import dataclass

from sqlalchemy.orm import Session
from starlette.responses import Response

from db.access import audit
from db.access.actors import DECIDERS
from db.console.pages.pictures import picture_response
from db.console.views.case_photos import request_pictures
from db.console.views.reviewer import decides_blind, hidden_scores, require_free
from db.console.web.context import PageContext
from db.console.web.forms import parse_row_number
from db.errors import ConflictError, DeniedError, NotFoundError
from db.review import lookalikes
from db.review.cases import flagged_photo, get_case, other_photos
from db.review.effective_reviews import describe_state
from db.review.lookalikes import Lookalike
from db.review.restrictions import may_handle, require_handler
from db.schema import Case, Image
from db.work import previews
from db.work.previews import PHOTO, PictureState

#: The account's other photos: at most this many, the newest first.
_OTHERS = 12


@dataclass(frozen=True, slots=True)
class Copy:
    """A case with a copy of a photo: its picture if this person may see it, and why it cannot be decided along."""

    found: Lookalike
    case: Case
    picture: PictureState | None
    why_not: str | None
    ticked: bool


def show_lookalikes(page: PageContext) -> Response:
    """Other cases with a copy of a photo. The browser asks once the case is shown: the search reads every photo."""
    case_id = page.path_number("case_id")
    with page.database.writing() as session:
        blind = decides_blind(session, page, get_case(session, case_id))
        alike = [] if blind else lookalikes.find_lookalikes(session, case_id)
        for one in alike:
            if (image := _image(session, page, one)) is not None:
                request_pictures(session, [image], page.user.name)
    with page.database.reading() as session:
        case = get_case(session, case_id)
        found = [_copy(session, page, one) for one in alike]
        decides = page.user.role in DECIDERS and case.state == "open"
    return page.render("lookalikes.html", case=case, found=found, blind=blind, may_decide=decides)


def _copy(session: Session, page: PageContext, found: Lookalike) -> Copy:
    case, image = get_case(session, found.case.case_id), _image(session, page, found)
    picture = previews.picture_states(session, [image.id], PHOTO)[image.id] if image is not None else None
    ticked = parse_row_number(page.param(f"also-{case.id}")) is not None
    return Copy(found, case, picture, _why_not(session, page, case, picture), ticked)


def _image(session: Session, page: PageContext, found: Lookalike) -> Image | None:
    """The copy; None for whoever may not see it."""
    if page.user.role not in DECIDERS or not may_handle(session, get_case(session, found.case.case_id), page.user.name):
        return None
    return flagged_photo(session, found.case.case_id, found.flag_id).image


def _why_not(session: Session, page: PageContext, case: Case, picture: PictureState | None) -> str | None:
    """Why this person cannot decide the copy's case together with the one on the page."""
    if case.state != "open":
        return f"it is {describe_state(case)}"
    try:
        require_free(session, page, case)
    except (ConflictError, DeniedError) as error:
        return str(error)
    if hidden_scores(session, page, [case.id]):
        return "you decide it blind, on its own page"
    return None if picture is not None and picture.state == "ready" else "its photo is not here yet"


def show_others(page: PageContext) -> Response:
    """The account's other photos, which are requested from workers, to compare with."""
    case_id = page.path_number("case_id")
    with page.database.writing() as session:
        case = get_case(session, case_id)
        require_handler(session, case, page.user.name)
        request_pictures(session, other_photos(session, case, _OTHERS), page.user.name)
    with page.database.reading() as session:
        case = get_case(session, case_id)
        found = other_photos(session, case, _OTHERS)
        states = previews.picture_states(session, [image.id for image in found], PHOTO)
    waits = any(state.state in ("making", "missing") for state in states.values())
    return page.render("others.html", case=case, found=found, states=states, waits=waits)


def show_other_picture(page: PageContext) -> Response:
    """One of the account's other photos, by its place in their list."""
    case_id, image_id = page.path_number("case_id"), page.request.query_params.get("image", "")
    with page.database.writing() as session:
        case = get_case(session, case_id)
        require_handler(session, case, page.user.name)
        if image_id not in {image.id for image in other_photos(session, case, _OTHERS)}:
            raise NotFoundError(f"case {case_id} has no other photo {image_id}")
        data = previews.read_picture(session, image_id, PHOTO)
        if data is not None:
            audit.log(session, page.user.name, "compared", case_id=case_id, image_id=image_id)
    return picture_response(data, PHOTO)
