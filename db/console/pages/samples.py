"""Blind samples: photos that chance drew, one at a time, without score, account or case."""

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from db.access import audit
from db.quality import samples
from db.work import pictures
from db.schema.clock import moment
from db.console.pages.pictures import served
from db.console.visit import Visit
from db.errors import NotFoundError
from db.work.pictures import PHOTO, PictureState
from db.schema import Sample


def start(visit: Visit) -> Response:
    """How many wait."""
    with visit.database.reading() as session:
        waiting = samples.waiting(session)
    return visit.page("samples.html", waiting_samples=waiting, done=bool(visit.asked("done")))


def take_next(visit: Visit) -> Response:
    """Keep the next one for this person, and show it."""
    with visit.database.writing() as session:
        found = samples.next_sample(session, visit.who.name, visit.console.review.review_lease_s)
    return visit.go(f"/samples/{found.sample_id}" if found is not None else "/samples?done=1")


def show(visit: Visit) -> Response:
    """The photo, and nothing else."""
    with visit.database.writing() as session:
        sample = _mine(session, visit)
        pictures.ask_missing(session, [_state(session, sample)], visit.who.name)
        audit.note(session, visit.who.name, "viewed_sample", image_id=sample.image_id, detail=f"sample {sample.id}")
    return _page(visit, "sample.html")


def box(visit: Visit) -> Response:
    """The picture's place on the page."""
    return _page(visit, "sample_box.html")


def picture(visit: Visit) -> Response:
    """The photo itself."""
    with visit.database.writing() as session:
        sample = _mine(session, visit)
        data = pictures.read(session, sample.image_id, PHOTO)
        audit.note(session, visit.who.name, "saw_photo", image_id=sample.image_id, detail=f"sample {sample.id}")
    return served(data, PHOTO)


def judge(visit: Visit) -> Response:
    """Enter a verdict, and go on to the next."""
    sample_id = visit.number("sample_id")
    with visit.database.writing() as session:
        samples.judge(session, sample_id, visit.who.name, visit.form.get("verdict", ""))
        audit.note(session, visit.who.name, "judged_sample", detail=f"sample {sample_id}: {visit.form['verdict']}")
    return take_next(visit)


def _mine(session: Session, visit: Visit) -> Sample:
    """The sample, while it is kept for this person: nobody looks through samples."""
    asked = select(Sample).where(Sample.id == visit.number("sample_id"), Sample.held_by == visit.who.name)
    found = session.scalar(asked.where(Sample.held_until > moment()))
    if found is None:
        raise NotFoundError("this sample is not kept for you, or not any more: take the next one")
    return found


def _state(session: Session, sample: Sample) -> PictureState:
    return pictures.states(session, [sample.image_id], PHOTO)[sample.image_id]


def _page(visit: Visit, template: str) -> Response:
    with visit.database.reading() as session:
        state, waiting = _state(session, _mine(session, visit)), samples.waiting(session)
    return visit.page(template, sample_id=visit.number("sample_id"), picture=state, waiting_samples=waiting)
