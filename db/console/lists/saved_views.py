"""Saving the queue's filters under a name, and deleting them."""

from starlette.responses import Response

from db.access import audit
from db.console.web.context import PageContext
from db.console.web.forms import local_path
from db.queue import saved_views


def submit_view(page: PageContext) -> Response:
    """Save the filters of the page that one came from, and show them again."""
    query, shared = page.form.get("query", ""), page.form.get("shared") == "yes"
    with page.database.writing() as session:
        view = saved_views.save_view(session, page.user.name, page.form.get("name", ""), query, shared=shared)
        audit.log(session, page.user.name, "view_saved", detail=f"{view.name}{', shared' if shared else ''}")
        query = view.query
    return page.redirect(local_path(f"/?{query}"))


def submit_deletion(page: PageContext) -> Response:
    """Delete a view."""
    with page.database.writing() as session:
        view_id, lead = page.form_number("view"), page.user.role == "lead"
        name = saved_views.delete_view(session, view_id, page.user.name, lead=lead)
        audit.log(session, page.user.name, "view_deleted", detail=name)
    return page.redirect("/")
