"""Pictures of a case's photos, for those who decide it, and the state of a picture that is being made."""

from starlette.responses import Response

from db.access import audit
from db.console.views.reviewer import decides_blind
from db.console.web.context import PageContext
from db.errors import DeniedError, NotFoundError
from db.review.cases import flagged_photo, get_case
from db.review.restrictions import require_handler
from db.work import previews
from db.work.previews import HEATMAP, ORIGINAL, PHOTO, THUMB

#: The formats in which workers make pictures.
_TYPES = {PHOTO: "image/jpeg", ORIGINAL: "image/jpeg", THUMB: "image/jpeg", HEATMAP: "image/png"}


def show_picture(page: PageContext) -> Response:
    """The picture itself. A blind reviewer gets no heatmap. What is fetched ahead has not been seen yet."""
    kind = str(page.request.path_params["kind"])
    case_id, image_id = wanted_photo(page, kind)
    what = f"prefetched_{kind}" if page.param("ahead") else f"saw_{kind}"
    with page.database.writing() as session:
        data = previews.read_picture(session, image_id, kind)
        if data is not None:
            audit.log(session, page.user.name, what, case_id=case_id, image_id=image_id)
    return picture_response(data, kind)


def show_thumbnail(page: PageContext) -> Response:
    """The small picture for lists. The audit log does not count it as a look at the photo, and it holds no case."""
    _, image_id = wanted_photo(page, PHOTO)
    with page.database.reading() as session:
        data = previews.read_thumb(session, image_id)
    return picture_response(data, THUMB)


def show_picture_box(page: PageContext) -> Response:
    """The picture's box on the page: the picture, or why it is not there yet."""
    kind = str(page.request.path_params["kind"])
    case_id, image_id = wanted_photo(page, kind)
    with page.database.reading() as session:
        state = previews.picture_states(session, [image_id], kind)[image_id]
    return page.render(
        "picture_box.html", case_id=case_id, flag_id=page.path_number("flag_id"), kind=kind, picture=state
    )


def request_picture(page: PageContext) -> Response:
    """Request the picture from workers, also again after a failure."""
    kind = str(page.request.path_params["kind"])
    case_id, image_id = wanted_photo(page, kind)
    with page.database.writing() as session:
        found = previews.picture_states(session, [image_id], kind).values()
        previews.request_missing(session, found, page.user.name, again=True)
        audit.log(session, page.user.name, f"asked_{kind}", case_id=case_id, image_id=image_id)
    if page.request.headers.get("hx-request"):
        return show_picture_box(page)
    return page.redirect(f"/cases/{case_id}")


def picture_response(data: bytes | None, kind: str) -> Response:
    """A picture as a response that browsers do not store; raises `NotFoundError` for a missing one."""
    if data is None:
        raise NotFoundError(f"this {kind} has not been made, or has been deleted")
    return Response(data, media_type=_TYPES[kind], headers={"Cache-Control": "no-store"})


def wanted_photo(page: PageContext, kind: str) -> tuple[int, str]:
    """The case and the image in the path; raises `NotFoundError`, or `DeniedError` for a picture that is hidden."""
    case_id = page.path_number("case_id")
    if kind not in (PHOTO, ORIGINAL, HEATMAP):
        raise NotFoundError(f"there is no picture of kind {kind}")
    with page.database.reading() as session:
        case = get_case(session, case_id)
        require_handler(session, case, page.user.name)
        if kind == HEATMAP and decides_blind(session, page, case):
            raise DeniedError("you decide this case blind, without scores and heatmaps")
        return case_id, flagged_photo(session, case_id, page.path_number("flag_id")).image.id
