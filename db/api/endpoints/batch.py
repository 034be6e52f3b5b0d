"""``/v1/images:batch``: one photo on each line, and one result for each line, in their order."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from starlette.responses import Response

from db.api.context import Call
from db.api.documents import BatchLine
from db.api.http.body import read_body
from db.api.http.problems import ProblemError, from_error, invalid, too_large
from db.api.submissions import Submission, add_photo, by_url, check_policy, deleted
from db.errors import DatabaseUnavailableError, DbError
from db.schema import Image
from db.store.session import is_transient
from db.work import images

MEDIA_TYPE = "application/x-ndjson"
MAX_LINES = 1000
LINE_BYTES = 16 * 1024
_BODY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the body: a checked photo, or the problem with it."""

    number: int
    photo: Submission | ProblemError


async def submit(call: Call) -> Response:
    """Add up to 1,000 photos; a problem with one does not affect the others. Raises `ProblemError` for the whole."""
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (MEDIA_TYPE, "application/ndjson", "application/jsonl"):
        raise ProblemError(415, "content_type", f"the content type is {kind[:80] or 'none'!r}: send {MEDIA_TYPE}")
    body = await read_body(call.request, call.held, call.body_limit(_BODY_BYTES, "a batch"))
    lines = _lines(call, body)
    call.api.rates.take(call.caller, max(0, len(lines) - 1))  # authentication counted the first
    results = await call.run(_add, call, lines)
    text = "".join(result.model_dump_json(exclude_none=True) + "\n" for result in results)
    return Response(text, 200, media_type=MEDIA_TYPE)


def _lines(call: Call, body: bytes) -> list[Line]:
    """The lines that are not empty; too many are refused before any photo is added."""
    found = [(number, text) for number, text in enumerate(body.split(b"\n"), 1) if text.strip()]
    if len(found) > MAX_LINES:
        raise ProblemError(
            413,
            "too_many_lines",
            f"the batch has {len(found)} lines: send at most {MAX_LINES} in a request",
            "lines of a batch",
            MAX_LINES,
        )
    return [Line(number, _photo(call, text)) for number, text in found]


def _photo(call: Call, text: bytes) -> Submission | ProblemError:
    if len(text) > LINE_BYTES:
        return too_large("the line", "a line of a batch", LINE_BYTES)
    try:
        return by_url(call, text)
    except DbError as error:
        return from_error(error)


def _add(call: Call, lines: list[Line]) -> list[BatchLine]:
    for lane in {line.photo.image.lane for line in lines if isinstance(line.photo, Submission)}:
        call.api.backlog.check(lane)
    with call.database.writing() as session:
        return _store(session, lines)


def _store(session: Session, lines: list[Line]) -> list[BatchLine]:
    """Add all photos with one statement. Where one is refused, halve the lines: it costs the others little time."""
    found = _together(session, lines)
    if found is not None:
        return found
    if len(lines) == 1:
        return [_alone(session, lines[0])]
    half = len(lines) // 2
    return _store(session, lines[:half]) + _store(session, lines[half:])


def _together(session: Session, lines: list[Line]) -> list[BatchLine] | None:
    """Add all photos with one statement. None, with nothing added, when one is refused."""
    photos = [line.photo.image for line in lines if isinstance(line.photo, Submission)]
    try:
        with session.begin_nested():
            for policy in {photo.policy for photo in photos}:
                check_policy(session, policy)
            added = set(images.add_images(session, photos, 0.0))
    except DatabaseUnavailableError:
        raise
    except DbError:
        return None
    except DBAPIError as error:
        if is_transient(error):
            raise
        return None
    states = _states(session, {photo.id for photo in photos} - added)
    return [_result(line, states) for line in lines]


def _states(session: Session, known: Collection[str]) -> dict[str, str | None]:
    """The states of photos that were known already; None: it was deleted."""
    found = session.execute(select(Image.id, Image.state, Image.account_id).where(Image.id.in_(known))) if known else ()
    return {image_id: state if account_id is not None else None for image_id, state, account_id in found}


def _alone(session: Session, line: Line) -> BatchLine:
    if isinstance(line.photo, ProblemError):
        return _refused(line, line.photo)
    try:
        with session.begin_nested():
            return _accepted(line, line.photo, add_photo(session, line.photo))
    except DatabaseUnavailableError:
        raise
    except DbError as error:
        return _refused(line, from_error(error))
    except DBAPIError as error:  # by a constraint: the others are not concerned
        if is_transient(error):
            raise
        return _refused(line, invalid("the database refuses the photo", "refused"))


def _result(line: Line, states: Mapping[str, str | None]) -> BatchLine:
    """``states``: of the photos that were known; the others were added."""
    if isinstance(line.photo, ProblemError):
        return _refused(line, line.photo)
    state = states.get(line.photo.image.id, "pending")
    if state is None:
        return _refused(line, from_error(deleted(line.photo.image.id)))
    return _accepted(line, line.photo, state)


def _accepted(line: Line, photo: Submission, state: str) -> BatchLine:
    return BatchLine.model_validate({"line": line.number, "status": 202, "image_id": photo.image.id, "state": state})


def _refused(line: Line, problem: ProblemError) -> BatchLine:
    return BatchLine(line=line.number, status=problem.status, problem=problem.document())
