"""``/v1/images``: submit a photo, read its verdict, correct its URL, delete it."""

import asyncio
import re
from dataclasses import asdict, dataclass
from urllib.parse import quote

from pydantic import ValidationError
from starlette.responses import Response

from db.access import audit
from db.api.context import Call
from db.api.documents import Accepted, NewUrl, VerdictDocument
from db.api.http.body import once, read_body, read_photo_form
from db.api.http.problems import ProblemError, invalid
from db.api.sources import check_url
from db.api.submissions import Submission, add_photo, by_bytes, by_url, visible
from db.policy.verdicts import PhotoVerdict
from db.privacy import erasure
from db.schema import Image
from db.store.ids import check_id
from db.work import corrections

#: The longest that a request may wait for a verdict, in seconds.
MAX_WAIT_S = 30
JSON_BYTES = 64 * 1024
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?(?=$|[,;\s])", re.IGNORECASE)
PHOTO_LIMIT = "UNMASK_API_MAX_PHOTO_BYTES"


@dataclass(frozen=True, slots=True)
class Preference:
    """How long the client wants to wait for a verdict: ``Prefer: wait`` (RFC 7240)."""

    wait_s: int

    @classmethod
    def of(cls, call: Call) -> "Preference":
        """The preference of a request; 0 s without the header, or without the scope read."""
        found = _WAIT.search(call.request.headers.get("prefer", ""))
        wait_s = min(int(found[1]), MAX_WAIT_S) if found and "read" in call.caller.scopes else 0
        return cls(wait_s)

    @property
    def headers(self) -> dict[str, str]:
        """The response header that tells the applied preference."""
        return {"Preference-Applied": f"wait={self.wait_s}"} if self.wait_s else {}


async def submit(call: Call) -> Response:
    """Add a photo: by its URL, as a form, or as the body itself. Raises `ProblemError` or `ConflictError`."""
    submission = await _submission(call)
    image_id, wait = submission.image.id, Preference.of(call)
    state = await call.run(add_submission, call, submission)
    del submission  # frees its bytes before the wait
    if wait.wait_s:
        await finished(call, image_id, wait.wait_s)
        verdict = await call.run(_verdict, call, image_id)
        if verdict.state != "pending":
            return _json(verdict_document(verdict), 200, wait.headers | _location(image_id))
    return _json(Accepted(image_id=image_id, state=state), 202, wait.headers | _location(image_id))


async def show(call: Call) -> Response:
    """Answer with the verdict on a photo; raises `ProblemError` 404."""
    image_id, wait = _image_id(call), Preference.of(call)
    verdict = await call.run(_verdict, call, image_id)
    if verdict.state == "pending" and wait.wait_s:
        await finished(call, image_id, wait.wait_s)
        verdict = await call.run(_verdict, call, image_id)
    return _json(verdict_document(verdict), 200, wait.headers)


async def change(call: Call) -> Response:
    """Give a photo without a score a new URL; it waits for a score again. Raises `ProblemError` or `ConflictError`."""
    image_id = _image_id(call)
    body = await read_body(call.request, call.held, call.body_limit(JSON_BYTES, "a JSON body"))
    try:
        url = NewUrl.model_validate_json(body).url
    except ValidationError:
        raise invalid('the body must be {"url": "..."}') from None
    check_url(url, call.api.settings)
    state = await call.run(_change, call, image_id, url)
    return _json(Accepted(image_id=image_id, state=state), 202, _location(image_id))


async def take_back(call: Call) -> Response:
    """Erase a photo's account and URL; workers no longer score it. Idempotent; raises `ProblemError` 404."""
    await call.run(_take_back, call, _image_id(call))
    return Response(status_code=204)


async def finished(call: Call, image_id: str, wait_s: float) -> None:
    """Wait until the photo is no longer pending, the time is over, or the client disconnects."""
    waiting = asyncio.ensure_future(call.api.waiting.done(image_id, wait_s))
    leaving = asyncio.ensure_future(_left(call))
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (waiting, leaving):
            task.cancel()


def verdict_document(verdict: PhotoVerdict) -> VerdictDocument:
    """The document that clients receive."""
    return VerdictDocument.model_validate(asdict(verdict))


def add_submission(call: Call, submission: Submission) -> str:
    """Add a photo within the `AdmissionLimits`; returns its state. Raises `ProblemError` or `ConflictError`."""
    call.api.backlog.check(submission.image.lane, len(submission.data or b""))
    with call.database.writing() as session:
        return add_photo(session, submission)


async def _left(call: Call) -> None:
    while (await call.request.receive())["type"] != "http.disconnect":
        pass


async def _submission(call: Call) -> Submission:
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    limit = call.body_limit(call.api.settings.api_max_photo_bytes, PHOTO_LIMIT)
    if kind == "application/json":
        return by_url(call, await read_body(call.request, call.held, call.body_limit(JSON_BYTES, "a JSON body")))
    if kind == "multipart/form-data":
        form = await read_photo_form(call.request, call.held, limit)
        return by_bytes(call, form.photo, form.fields)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return by_bytes(
            call, await read_body(call.request, call.held, limit), once(call.request.query_params.multi_items())
        )
    detail = f"the content type is {kind[:80] or 'none'!r}: send application/json, multipart/form-data or image/*"
    raise ProblemError(415, "content_type", detail)


def _image_id(call: Call) -> str:
    return check_id("image_id", call.request.path_params["image_id"])


def _verdict(call: Call, image_id: str) -> PhotoVerdict:
    with call.database.reading() as session:
        visible(session, call, image_id)
        outcome = call.api.verdicts.find(session, image_id)
    if outcome is None:
        raise ProblemError(404, "not_found", f"image {image_id!r} is not in the record")
    return outcome.verdict


def _change(call: Call, image_id: str, url: str) -> str:
    with call.database.writing() as session:
        before = visible(session, call, image_id).state
        if corrections.change_url(session, image_id, url):
            audit.log(session, call.actor, "url_changed", image_id=image_id, detail=f"was {before}")
            return "pending"
    return before


def _take_back(call: Call, image_id: str) -> None:
    with call.database.writing() as session:
        row = session.get(Image, image_id, with_for_update=True)
        if row is None or not call.sees(row.policy):
            raise ProblemError(404, "not_found", f"image {image_id!r} is not in the record")
        if row.account_id is not None or row.url is not None:
            erasure.erase_images(session, [image_id])
            audit.log(session, call.actor, "taken_back", image_id=image_id)


def _location(image_id: str) -> dict[str, str]:
    return {"Location": f"/v1/images/{quote(image_id, safe='')}"}


def _json(document: Accepted | VerdictDocument, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(document.model_dump_json(), status, headers, "application/json")
