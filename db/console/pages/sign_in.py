"""Signing in by password or one-time link, signing out, and changing one's own password."""

import math
from contextlib import AbstractContextManager
from typing import Any

from starlette.responses import Response

from db.access import audit, login_rate_limit, passwords, people, sign_ins
from db.access.hashing_queue import SIGN_INS
from db.console.web import cookies
from db.console.web.context import PageContext
from db.console.web.dispatch import error_page
from db.console.web.forms import local_path
from db.console.web.identity import client_address
from db.errors import BusyError, DbError, DeniedError
from db.schema import Person

#: What a full queue for hashing asks a browser to wait.
_BUSY_S = 5.0


def show_sign_in(page: PageContext) -> Response:
    """The sign-in form; behind a trusted proxy, a page that says to sign in there."""
    if page.console.settings.console_trusted_header:
        return error_page(page, "Sign in at the proxy in front of this console, not here.", 403)
    return page.render("sign_in.html", next=local_path(page.param("next")), end_session=_end_session_link(page))


def sign_in_by_password(page: PageContext) -> Response:
    """Sign in with name and password. Refusing takes equally long whether or not the name exists."""
    if page.console.settings.console_trusted_header:
        return show_sign_in(page)
    name, next_path = page.form.get("name", "").strip(), local_path(page.param("next"))
    try:
        person = _check_sign_in(page, name, page.form.get("password", ""))
    except (BusyError, DeniedError) as error:
        return _come_again(page, "sign_in.html", error, next=next_path, name=name)
    if person is None:
        wrong = "The name or the password is wrong."
        return page.render("sign_in.html", 403, next=next_path, name=name, wrong=wrong)
    return _signed_in(page, person, next_path, "password")


def show_link(page: PageContext) -> Response:
    """A button that uses the link, so that a mail program that opens links does not use it up."""
    with page.database.reading() as session:
        person = sign_ins.find_by_link(session, page.request.path_params["token"])
        name = person.name if person is not None else None
    return page.render("link.html", 200 if name else 404, name=name)


def sign_in_by_link(page: PageContext) -> Response:
    """Sign in the person for whom the link was made, once."""
    with page.database.writing() as session:
        person = sign_ins.redeem_link(session, page.request.path_params["token"])
        session.expunge(person)
    return _signed_in(page, person, "/", "link")


def sign_out(page: PageContext) -> Response:
    """Sign this browser out, and delete its cookie."""
    settings = page.console.settings
    with page.database.writing() as session:
        sign_ins.revoke(session, page.csrf_seed)
        audit.log(session, page.user.name, "signed_out")
    response = page.redirect("/sign-in?signed_out=1" if page.console.provider is not None else "/sign-in")
    cookies.delete_cookie(response, cookies.SIGN_IN, secure=settings.secure)
    return response


def show_password(page: PageContext) -> Response:
    """The form to change one's own password."""
    return page.render("password.html", longest=passwords.LONGEST, shortest=passwords.SHORTEST)


def change_password(page: PageContext) -> Response:
    """Set a new password, given the current one if there is one; signs the person out in all other browsers."""
    name = page.user.name
    with page.database.reading() as session:
        stored = people.get_by_name(session, name).password
    try:
        if stored is not None:
            _check_current(page, name, stored)
        with page.database.writing() as session:
            person = people.get_by_name(session, name)
            people.set_password(session, person, page.form.get("new", ""))
            audit.log(session, name, "password_set", detail="by themselves")
            session.flush()
            session.expunge(person)
    except BusyError as error:
        return _come_again(page, "password.html", error, shortest=passwords.SHORTEST, longest=passwords.LONGEST)
    except DbError as error:
        shortest, longest = passwords.SHORTEST, passwords.LONGEST
        return page.render("password.html", 400, shortest=shortest, longest=longest, wrong=str(error))
    return _signed_in(page, person, "/", "password")


def _come_again(page: PageContext, template: str, error: DbError, **context: Any) -> Response:
    """The form once more, with the reason, and for programs the time to wait."""
    busy = isinstance(error, BusyError)
    response = page.render(template, 503 if busy else 429, wrong=str(error), **context)
    wait_s = _BUSY_S if busy else page.console.settings.console_tries_window_s
    response.headers["Retry-After"] = str(math.ceil(wait_s))
    return response


def _check_sign_in(page: PageContext, name: str, password: str) -> Person | None:
    """The person; None for a wrong name or password, which stays counted."""
    with _place(page):
        attempt_id = _record_attempt(page, name)
        with page.database.reading() as session:
            person = people.find_person(session, name)
        right = passwords.verify_password(person.password if person is not None else None, password)
    with page.database.writing() as session:
        if person is not None and right and not person.disabled:
            login_rate_limit.discard_attempt(session, attempt_id)
            return person
        if person is not None:  # an unknown name may be a password typed into the wrong field: it is not logged
            address = client_address(page.console.settings, page.request)
            audit.log(session, name, "sign_in_failed", detail=address)
    return None


def _check_current(page: PageContext, name: str, stored: str) -> None:
    with _place(page):
        attempt_id = _record_attempt(page, name)
        right = passwords.verify_password(stored, page.form.get("old", ""))
    if not right:
        raise DbError("the current password is wrong")
    with page.database.writing() as session:
        login_rate_limit.discard_attempt(session, attempt_id)


def _place(page: PageContext) -> AbstractContextManager[None]:
    """A place in the queue for hashing, which is taken before anything is written."""
    return SIGN_INS.place(client_address(page.console.settings, page.request))


def _record_attempt(page: PageContext, name: str) -> int:
    settings = page.console.settings
    address = client_address(settings, page.request)
    return login_rate_limit.record_attempt(page.database, name, address, settings.login_rate_limit)


def _signed_in(page: PageContext, person: Person, path: str, how: str) -> Response:
    response = page.redirect(path)
    begin_session(page, response, person, how)
    return response


def begin_session(
    page: PageContext, response: Response, person: Person, how: str, provider_session: str | None = None
) -> None:
    """Start a sign-in, always with a new token: tokens from before become useless (session fixation)."""
    settings = page.console.settings
    address = client_address(settings, page.request)
    detail = f"by {how}, from {address}"
    with page.database.writing() as session:
        token = sign_ins.start_sign_in(session, person, settings.console_session_s, provider_session)
        login_rate_limit.remember_address(session, person, address)
        audit.log(session, person.name, "signed_in", detail=detail)
    cookies.set_cookie(response, cookies.SIGN_IN, token, secure=settings.secure)


def _end_session_link(page: PageContext) -> str | None:
    """After signing out, the way to sign out of the OpenID provider as well."""
    if page.console.provider is None or not page.param("signed_out"):
        return None
    from db.console.oidc.pages import end_session_link

    return end_session_link(page)
