"""``/v1/pict-rs``: external validation for pict-rs (``media.external_validation``), the image host of Lemmy.

pict-rs posts the bytes of each upload and waits for 30 s. It keeps the upload after any 2xx and refuses it otherwise.
It cannot send a header of ours, so the key goes into the URL: ``http://any:unmask_KEY@HOST/v1/pict-rs``.
"""

import hashlib

from starlette.responses import Response

from db.api.context import Call
from db.api.endpoints.images import PHOTO_LIMIT, add_submission, finished
from db.api.http.body import once, read_body
from db.api.http.problems import ProblemError, invalid
from db.api.submissions import by_bytes
from db.policy.verdicts import PhotoVerdict

#: Seconds to wait for a verdict: less than pict-rs waits.
_WAIT_S = 25
#: What to do with photos that have no verdict.
_MISSING = ("refuse", "accept")


async def validate(call: Call) -> Response:
    """Answer 204 for a photo that is not flagged; raises `ProblemError` 406 for a flagged one, 503 without a verdict.

    ``?missing=accept`` keeps a photo without a verdict, too.
    """
    query = once(call.request.query_params.multi_items())
    missing = query.get("missing", "refuse")
    if missing not in _MISSING:
        raise invalid(f"missing must be one of {', '.join(_MISSING)}: {missing[:80]!a}")
    limit = call.body_limit(call.api.settings.api_max_photo_bytes, PHOTO_LIMIT)
    data = await read_body(call.request, call.held, limit)
    fields = {name: query[name] for name in ("account_id", "policy") if name in query}
    # pict-rs does not name the account, so each photo has its own; the same photo again is the same image.
    name = f"pict-rs-{hashlib.sha256(data).hexdigest()}"
    submission = by_bytes(call, data, {"account_id": name, "image_id": name} | fields)
    image_id = submission.image.id
    await call.run(add_submission, call, submission)
    await finished(call, image_id, _WAIT_S)
    return _answer(await call.run(_verdict, call, image_id), missing)


def _verdict(call: Call, image_id: str) -> PhotoVerdict | None:
    with call.database.reading() as session:
        outcome = call.api.verdicts.find(session, image_id)
    return outcome.verdict if outcome is not None else None


def _answer(verdict: PhotoVerdict | None, missing: str) -> Response:
    if verdict is not None and verdict.flagged:
        raise ProblemError(406, "flagged", "the photo is flagged as AI-generated")
    if verdict is None or verdict.flagged is None:
        why = verdict.reason or verdict.state if verdict is not None else "gone"
        if missing == "refuse":
            raise ProblemError(503, "no_verdict", f"the photo has no verdict ({why}): try again", retry_after_s=10)
    return Response(status_code=204)
