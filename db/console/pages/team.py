"""For leads: note templates, and how pictures are shown by default. For everyone: their own day."""

from starlette.responses import Response

from db.access import audit
from db.console.web.context import PageContext
from db.console.web.dispatch import status_of
from db.errors import DatabaseError, DbError
from db.quality.daily_count import count_today
from db.review import case_queue, team

_PICTURES = {
    "plain": "Unchanged",
    "grey": "Grey",
    "blur": "Blurred until one points at them",
    "grey-blur": "Grey and blurred",
}


def show_team(page: PageContext) -> Response:
    """The note templates and the picture defaults, each with its form."""
    return _render(page)


def submit_template(page: PageContext) -> Response:
    """Add, change or remove a note template."""
    name = page.form.get("name", "")
    try:
        with page.database.writing() as session:
            if page.form.get("remove"):
                team.remove_template(session, name)
            else:
                reason, note = page.form.get("reason") or None, page.form.get("note", "")
                team.save_template(session, page.console.review, name, reason, note, page.user.name)
            audit.log(session, page.user.name, "changed_template", detail=name)
    except DatabaseError:
        raise
    except DbError as error:
        return _render(page, error)
    return page.redirect("/team")


def submit_pictures(page: PageContext) -> Response:
    """Set how a policy's pictures are shown to whoever chose nothing else."""
    policy, pictures = page.form.get("policy", "").strip(), page.form.get("pictures", "")
    with page.database.writing() as session:
        team.set_picture_default(session, policy, pictures, page.user.name)
        audit.log(session, page.user.name, "changed_pictures", detail=f"{policy or 'all policies'}: {pictures}")
    return page.redirect("/team")


def show_my_day(page: PageContext) -> Response:
    """How much this person has done today; shown to nobody else, and not recorded."""
    with page.database.reading() as session:
        decided, judged = count_today(session, page.user.name)
    return page.render("my_day.html", decided=decided, judged=judged)


def _render(page: PageContext, problem: DbError | None = None) -> Response:
    with page.database.reading() as session:
        context = {
            "templates": team.list_templates(session),
            "defaults": team.picture_defaults(session),
            "policies": sorted(case_queue.count_backlog(session).by_policy),
        }
    return page.render(
        "team.html",
        status_of(problem) if problem is not None else 200,
        problem=str(problem) if problem is not None else None,
        given=page.form,
        reasons=page.console.review.review_reasons,
        choices=_PICTURES,
        **context,
    )
