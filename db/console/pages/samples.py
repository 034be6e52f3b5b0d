"""Blind samples: randomly drawn photos, judged one at a time without score, account or case."""

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from db.access import audit
from db.console.pages.pictures import picture_response
from db.console.views.case_photos import PREVIEW_SIDE, request_pictures
from db.console.views.keys import SAMPLE, SAMPLES
from db.console.views.reviewer import shown_pictures
from db.console.web.context import PageContext
from db.console.web.dispatch import status_of
from db.console.web.forms import parse_row_number
from db.errors import ConflictError, DatabaseError, DbError, NotFoundError
from db.quality import samples
from db.schema import Image, Sample, Verdict
from db.schema.clock import moment
from db.work import previews
from db.work.previews import ORIGINAL, PHOTO, PictureState


def show_samples(page: PageContext) -> Response:
    """How many samples wait to be judged, and the way to the next one."""
    with page.database.reading() as session:
        waiting, judged = samples.count_waiting(session), _undoable(session, page)
    return page.render(
        "samples.html", waiting_samples=waiting, done=bool(page.param("done")), judged=judged, page_keys=SAMPLES
    )


def open_next_sample(page: PageContext) -> Response:
    """Lease the next sample to this person, and show it."""
    return _go_on(page)


def show_sample(page: PageContext) -> Response:
    """The sampled photo, and nothing else that could influence the verdict."""
    with page.database.writing() as session:
        sample = _held(session, page)
        request_pictures(session, [session.get_one(Image, sample.image_id)], page.user.name)
        audit.log(session, page.user.name, "viewed_sample", image_id=sample.image_id, detail=f"sample {sample.id}")
    return _render(page, "sample.html")


def show_sample_box(page: PageContext) -> Response:
    """The photo's box on the page: the photo, or why it is not there yet."""
    return _render(page, "sample_box.html")


def show_sample_photo(page: PageContext) -> Response:
    """The photo of a sample that this person holds, as an image."""
    return _picture(page, PHOTO)


def show_sample_original(page: PageContext) -> Response:
    """The same at the photo's own size."""
    return _picture(page, ORIGINAL)


def _picture(page: PageContext, kind: str) -> Response:
    with page.database.writing() as session:
        sample = _held(session, page)
        data = previews.read_picture(session, sample.image_id, kind)
        if data is not None:
            audit.log(session, page.user.name, f"saw_{kind}", image_id=sample.image_id, detail=f"sample {sample.id}")
    return picture_response(data, kind)


def submit_verdict(page: PageContext) -> Response:
    """Record a verdict, and go to the next sample."""
    sample_id, verdict = page.path_number("sample_id"), page.form.get("verdict", "")
    try:
        with page.database.writing() as session:
            _check_seen(session, page, sample_id, verdict)
            samples.record_verdict(session, sample_id, page.user.name, verdict)
            audit.log(session, page.user.name, "judged_sample", detail=f"sample {sample_id}: {verdict}")
    except (DatabaseError, NotFoundError):
        raise
    except ConflictError as error:
        return _refused(page, error)
    return _go_on(page, judged=sample_id)


def _check_seen(session: Session, page: PageContext, sample_id: int, verdict: str) -> None:
    sample = session.get(Sample, sample_id)
    if sample is None or verdict == "unsure":
        return
    if not audit.has_seen_image(session, page.user.name, sample.image_id):
        raise ConflictError("this photo has not been on your screen: wait for it, or choose Unsure")


def submit_undo_verdict(page: PageContext) -> Response:
    """Undo one's verdict on a sample, and show its photo again."""
    sample_id = page.path_number("sample_id")
    with page.database.writing() as session:
        samples.undo_verdict(session, sample_id, page.user.name, page.console.review.review_lease_s)
        audit.log(session, page.user.name, "undone_sample", detail=f"sample {sample_id}")
    return page.redirect(f"/samples/{sample_id}")


def leave_sample(page: PageContext) -> Response:
    """Release a sample to other reviewers."""
    with page.database.writing() as session:
        if samples.release_sample(session, page.path_number("sample_id"), page.user.name):
            audit.log(session, page.user.name, "left_sample", detail=f"sample {page.path_number('sample_id')}")
    return page.redirect("/samples")


def _go_on(page: PageContext, judged: int | None = None) -> Response:
    with page.database.writing() as session:
        found = samples.next_sample(session, page.user.name, page.console.review.review_lease_s)
    undo = f"judged={judged}" if judged is not None else ""
    if found is None:
        return page.redirect("/samples?done=1" + (f"&{undo}" if undo else ""))
    return page.redirect(f"/samples/{found.sample_id}" + (f"?{undo}" if undo else ""))


def _held(session: Session, page: PageContext) -> Sample:
    """The sample, only while this person holds it: nobody may browse samples."""
    held = select(Sample).where(Sample.id == page.path_number("sample_id"), Sample.held_by == page.user.name)
    found = session.scalar(held.where(Sample.held_until > moment()))
    if found is None:
        raise NotFoundError("you do not hold this sample, or no longer do: open the next one")
    return found


def _state(session: Session, sample: Sample) -> PictureState:
    return previews.picture_states(session, [sample.image_id], PHOTO)[sample.image_id]


def _undoable(session: Session, page: PageContext) -> Verdict | None:
    """The verdict that this person has just given, if they have not undone it."""
    sample_id = parse_row_number(page.param("judged"))
    return samples.verdict_by(session, sample_id, page.user.name) if sample_id is not None else None


def _refused(page: PageContext, error: DbError) -> Response:
    """The same page again, which says what is wrong, while this person holds the sample; else raises the error."""
    with page.database.reading() as session:
        held = session.get(Sample, page.path_number("sample_id"))
        if held is None or held.held_by != page.user.name or held.judged:
            raise error
    return _render(page, "sample.html", error)


def _render(page: PageContext, template: str, problem: DbError | None = None) -> Response:
    with page.database.reading() as session:
        sample = _held(session, page)
        image = session.get_one(Image, sample.image_id)
        context = {
            "picture": _state(session, sample),
            "waiting_samples": samples.count_waiting(session),
            "judged": _undoable(session, page),
            "pictures": shown_pictures(session, page, ""),
            "larger": max(image.width or 0, image.height or 0) > PREVIEW_SIDE,
        }
    said = str(problem) if problem is not None else None
    code = status_of(problem) if problem is not None else 200
    return page.render(
        template, code, sample_id=page.path_number("sample_id"), problem=said, page_keys=SAMPLE, **context
    )
