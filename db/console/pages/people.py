"""For leads: who may sign in, and in which role."""

from sqlalchemy.orm import Session
from starlette.responses import Response

from db.access import audit, people, sign_ins
from db.console.web.context import PageContext
from db.errors import ConflictError
from db.schema import ROLES, Person


def show_people(page: PageContext) -> Response:
    """Everybody who may sign in, with their role."""
    return _render(page)


def submit_person(page: PageContext) -> Response:
    """Add a person, and show the link by which they sign in for the first time."""
    with page.database.writing() as session:
        person = people.add_person(session, page.form.get("name", "").strip(), page.form.get("role", ""))
        audit.log(session, page.user.name, "person_added", detail=f"{person.name} as {person.role}")
        token = _make_link(page, session, person)
    return _render(page, made=page.form.get("name", "").strip(), token=token)


def submit_link(page: PageContext) -> Response:
    """Make a one-time link, and show it once, for the lead to hand over."""
    with page.database.writing() as session:
        person = people.get_by_name(session, page.form.get("name", ""))
        token = _make_link(page, session, person)
        audit.log(session, page.user.name, "link_made", detail=person.name)
    return _render(page, made=page.form.get("name", ""), token=token)


def submit_disable(page: PageContext) -> Response:
    """Disable a person at once."""
    return _set_disabled(page, "person_disabled", disabled=True)


def submit_enable(page: PageContext) -> Response:
    """Let a disabled person sign in again."""
    return _set_disabled(page, "person_enabled", disabled=False)


def _set_disabled(page: PageContext, what: str, *, disabled: bool) -> Response:
    name = page.form.get("name", "")
    if name == page.user.name:
        raise ConflictError("you cannot disable yourself: ask another lead")
    with page.database.writing() as session:
        people.set_disabled(session, people.get_by_name(session, name), disabled=disabled)
        audit.log(session, page.user.name, what, detail=name)
    return page.redirect("/people")


def _make_link(page: PageContext, session: Session, person: Person) -> str:
    return sign_ins.make_link(session, person, page.console.settings.console_link_s)


def _render(page: PageContext, made: str | None = None, token: str | None = None) -> Response:
    with page.database.reading() as session:
        rows = people.list_people(session)
    url = page.console.settings.console_url.rstrip("/") or str(page.request.base_url).rstrip("/")
    link = f"{url}/link/{token}" if token is not None else None
    minutes = page.console.settings.console_link_s / 60
    return page.render("people.html", people=rows, roles=ROLES, made=made, link=link, minutes=minutes)
