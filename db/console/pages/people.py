"""For leads: who may come in, in which role."""

from collections.abc import Callable

from sqlalchemy.orm import Session
from starlette.responses import Response

from db.access import audit, people, sign_ins
from db.console.visit import Visit
from db.errors import ConflictError
from db.schema import ROLES, Person


def show(visit: Visit) -> Response:
    """Everybody."""
    return _page(visit)


def add(visit: Visit) -> Response:
    """Somebody new, who comes in by a link the first time."""
    with visit.database.writing() as session:
        person = people.add(session, visit.form.get("name", "").strip(), visit.form.get("role", ""))
        audit.note(session, visit.who.name, "person_added", detail=f"{person.name} as {person.role}")
        token = _link(visit, session, person)
    return _page(visit, made=visit.form.get("name", "").strip(), token=token)


def make_link(visit: Visit) -> Response:
    """A one-time link, shown once, to be handed over."""
    with visit.database.writing() as session:
        person = people.named(session, visit.form.get("name", ""))
        token = _link(visit, session, person)
        audit.note(session, visit.who.name, "link_made", detail=person.name)
    return _page(visit, made=visit.form.get("name", ""), token=token)


def disable(visit: Visit) -> Response:
    """Keep somebody out, at once."""
    return _change(visit, "person_disabled", people.disable)


def enable(visit: Visit) -> Response:
    """Let somebody in again."""
    return _change(visit, "person_enabled", lambda session, person: people.disable(session, person, disabled=False))


def _change(visit: Visit, what: str, change: Callable[[Session, Person], None]) -> Response:
    name = visit.form.get("name", "")
    if name == visit.who.name:
        raise ConflictError("you cannot shut yourself out: ask another lead")
    with visit.database.writing() as session:
        change(session, people.named(session, name))
        audit.note(session, visit.who.name, what, detail=name)
    return visit.go("/people")


def _link(visit: Visit, session: Session, person: Person) -> str:
    return sign_ins.make_link(session, person, visit.console.settings.console_link_s)


def _page(visit: Visit, made: str | None = None, token: str | None = None) -> Response:
    with visit.database.reading() as session:
        rows = people.listed(session)
    url = visit.console.settings.console_url.rstrip("/") or str(visit.request.base_url).rstrip("/")
    link = f"{url}/link/{token}" if token is not None else None
    minutes = visit.console.settings.console_link_s / 60
    return visit.page("people.html", people=rows, roles=ROLES, made=made, link=link, minutes=minutes)
