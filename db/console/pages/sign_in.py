"""Coming in and going out: by password, by one-time link; and one's own password."""

from starlette.responses import Response

from db.access import audit, passwords, people, sign_ins, throttle
from db.console import cookies
from db.console.door import refused
from db.console.identity import address
from db.console.visit import Visit, local
from db.errors import DbError, DeniedError
from db.schema import Person


def show(visit: Visit) -> Response:
    """Where one signs in."""
    if visit.console.settings.console_trusted_header:
        return refused(visit, "People sign in at the proxy in front of this console, not here.", 403)
    return visit.page("sign_in.html", next=local(visit.asked("next")))


def with_password(visit: Visit) -> Response:
    """Whoever knows the password is that person. A wrong one takes as long for a name that is not there."""
    if visit.console.settings.console_trusted_header:
        return show(visit)
    name = visit.form.get("name", "").strip()
    try:
        person = _by_password(visit, name, visit.form.get("password", ""))
    except DeniedError as error:
        return visit.page("sign_in.html", 429, next=local(visit.asked("next")), name=name, wrong=str(error))
    if person is None:
        wrong = "This name and password do not belong together."
        return visit.page("sign_in.html", 403, next=local(visit.asked("next")), name=name, wrong=wrong)
    return _signed_in(visit, person, local(visit.asked("next")), "password")


def show_link(visit: Visit) -> Response:
    """A link is used by a button, and not by a mail program that looks where it leads."""
    with visit.database.reading() as session:
        person = sign_ins.links_person(session, visit.request.path_params["token"])
        name = person.name if person is not None else None
    return visit.page("link.html", 200 if name else 404, name=name)


def with_link(visit: Visit) -> Response:
    """Whoever has the link is that person, once."""
    with visit.database.writing() as session:
        person = sign_ins.use_link(session, visit.request.path_params["token"])
        session.expunge(person)
    return _signed_in(visit, person, "/", "link")


def out(visit: Visit) -> Response:
    """Sign this browser out."""
    settings = visit.console.settings
    with visit.database.writing() as session:
        sign_ins.end(session, visit.seed)
        audit.note(session, visit.who.name, "signed_out")
    response = visit.go("/sign-in")
    cookies.take(response, cookies.SIGN_IN, secure=settings.secure)
    return response


def show_password(visit: Visit) -> Response:
    """One's own password."""
    return visit.page("password.html", longest=passwords.LONGEST, shortest=passwords.SHORTEST)


def set_password(visit: Visit) -> Response:
    """A new one, by whoever knows the old one (or came by a link and has none); other browsers are signed out."""
    name, old = visit.who.name, visit.form.get("old", "")
    with visit.database.reading() as session:
        kept = people.named(session, name).password
    try:
        if kept is not None:
            _check(visit, name, kept, old)
        with visit.database.writing() as session:
            person = people.named(session, name)
            people.set_password(session, person, visit.form.get("new", ""))
            audit.note(session, name, "password_set", detail="by themselves")
            session.flush()
            session.expunge(person)
    except DbError as error:
        return visit.page(
            "password.html", 400, shortest=passwords.SHORTEST, longest=passwords.LONGEST, wrong=str(error)
        )
    return _signed_in(visit, person, "/", "password")


def _by_password(visit: Visit, name: str, password: str) -> Person | None:
    """Somebody; None for a wrong one, which is counted."""
    settings = visit.console.settings
    try_id = throttle.attempt(visit.database, name, address(settings, visit.request), settings.patience)
    with visit.database.reading() as session:
        person = people.find(session, name)
    right = passwords.matches(person.password if person is not None else None, password)
    with visit.database.writing() as session:
        if person is not None and right and not person.disabled:
            throttle.forgive(session, try_id)
            return person
        if person is not None:  # a name that is not there may be a password in the wrong field
            audit.note(session, name, "sign_in_failed", detail=address(settings, visit.request))
    return None


def _check(visit: Visit, name: str, kept: str, old: str) -> None:
    settings = visit.console.settings
    try_id = throttle.attempt(visit.database, name, address(settings, visit.request), settings.patience)
    if not passwords.matches(kept, old):
        raise DbError("this is not your present password")
    with visit.database.writing() as session:
        throttle.forgive(session, try_id)


def _signed_in(visit: Visit, person: Person, path: str, how: str) -> Response:
    """Always with a new token: what the browser had before is worth nothing now."""
    settings = visit.console.settings
    with visit.database.writing() as session:
        token = sign_ins.begin(session, person, settings.console_session_s)
        audit.note(session, person.name, "signed_in", detail=f"by {how}, from {address(settings, visit.request)}")
    response = visit.go(path)
    cookies.give(response, cookies.SIGN_IN, token, secure=settings.secure)
    return response
