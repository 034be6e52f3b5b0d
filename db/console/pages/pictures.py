"""Pictures of flagged and sampled photos, for those who decide about them; and how it stands with one being made."""

from starlette.responses import Response

from db.access import audit
from db.review import dossiers
from db.work import pictures
from db.console.visit import Visit
from db.console.working import find, is_blind
from db.errors import DeniedError, NotFoundError
from db.work.pictures import HEATMAP, PHOTO

#: As workers make them.
_TYPES = {PHOTO: "image/jpeg", HEATMAP: "image/png"}


def show(visit: Visit) -> Response:
    """The picture. Whoever decides blind sees no heatmap."""
    case_id, kind = _asked(visit)
    with visit.database.writing() as session:
        image_id = dossiers.photo(session, case_id, visit.number("flag_id")).image.id
        data = pictures.read(session, image_id, kind)
        audit.note(session, visit.who.name, f"saw_{kind}", case_id=case_id, image_id=image_id)
    return served(data, kind)


def box(visit: Visit) -> Response:
    """The picture's place on the page: the picture, or how it stands with it."""
    case_id, kind = _asked(visit)
    with visit.database.reading() as session:
        flagged = dossiers.photo(session, case_id, visit.number("flag_id"))
        state = pictures.states(session, [flagged.image.id], kind)[flagged.image.id]
    return visit.page("box.html", case_id=case_id, flag_id=flagged.flag_id, kind=kind, picture=state)


def ask(visit: Visit) -> Response:
    """Ask workers for it, also where they failed before."""
    case_id, kind = _asked(visit)
    with visit.database.writing() as session:
        image_id = dossiers.photo(session, case_id, visit.number("flag_id")).image.id
        found = pictures.states(session, [image_id], kind).values()
        pictures.ask_missing(session, found, visit.who.name, again=True)
        audit.note(session, visit.who.name, f"asked_{kind}", case_id=case_id, image_id=image_id)
    if visit.request.headers.get("hx-request"):
        return box(visit)
    return visit.go(f"/cases/{case_id}")


def served(data: bytes | None, kind: str) -> Response:
    """Its bytes, which no browser keeps."""
    if data is None:
        raise NotFoundError(f"this {kind} is not there, or not any more")
    return Response(data, media_type=_TYPES[kind], headers={"Cache-Control": "no-store"})


def _asked(visit: Visit) -> tuple[int, str]:
    """Which case's, and which kind; raises `DeniedError` for what is hidden from somebody."""
    case_id, kind = visit.number("case_id"), visit.request.path_params["kind"]
    if kind not in _TYPES:
        raise NotFoundError(f"there is no picture {kind}")
    with visit.database.reading() as session:
        if kind == HEATMAP and is_blind(visit, find(session, case_id)):
            raise DeniedError("you decide this case without scores and heatmaps")
    return case_id, kind
