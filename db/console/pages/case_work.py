"""Work on a case beside its decision: holding it, comments, restrictions, and what the screen has shown."""

from starlette.responses import Response

from db.access import audit
from db.console.pages.pictures import wanted_photo
from db.console.web.context import PageContext
from db.errors import DeniedError
from db.review import case_context, case_queue
from db.review.cases import get_case
from db.review.restrictions import RESTRICTIONS, list_restricted, restrict_case
from db.work.previews import PHOTO


def hold_case(page: PageContext) -> Response:
    """The reviewer works on the case: lease it to them, or renew their lease. Says why not, where they may not."""
    case_id = page.path_number("case_id")
    with page.database.writing() as session:
        held = get_case(session, case_id).held_by == page.user.name
        case_queue.acquire_case(session, case_id, page.user.name, page.console.review.review_lease_s)
        if not held:
            audit.log(session, page.user.name, "took", case_id=case_id)
    return Response(status_code=204)


def note_seen(page: PageContext) -> Response:
    """A picture that was fetched ahead has come on the screen."""
    case_id, image_id = wanted_photo(page, PHOTO)
    with page.database.writing() as session:
        audit.log(session, page.user.name, "saw_photo", case_id=case_id, image_id=image_id)
    return Response(status_code=204)


def submit_comment(page: PageContext) -> Response:
    """Add a comment for the team."""
    case_id = page.path_number("case_id")
    with page.database.writing() as session:
        case_context.add_comment(session, case_id, page.user.name, page.form.get("comment", ""))
        audit.log(session, page.user.name, "commented", case_id=case_id)
    return page.redirect(f"/cases/{case_id}#comments")


def submit_restriction(page: PageContext) -> Response:
    """Restrict a case to leads, and go back to the queue; or, as a lead, open it to all reviewers again."""
    case_id, reason = page.path_number("case_id"), page.form.get("reason") or None
    if reason is None and page.user.role != "lead":
        raise DeniedError("only a lead opens a case to all reviewers again")
    with page.database.writing() as session:
        restrict_case(session, case_id, page.user.name, reason)
        audit.log(session, page.user.name, "restricted", case_id=case_id, detail=reason or "lifted")
    return page.redirect(f"/cases/{case_id}" if page.user.role == "lead" else "/")


def show_restricted(page: PageContext) -> Response:
    """For leads: the open cases that only they decide."""
    with page.database.reading() as session:
        found = list_restricted(session, page.console.settings.console_rows)
    return page.render("restricted.html", found=found, restrictions=RESTRICTIONS)
