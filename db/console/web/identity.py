"""Who sent a request: the person who signed in with this browser, or the person whom a trusted proxy names."""

from ipaddress import ip_address

from starlette.requests import Request

from db.access import people, sign_ins
from db.access.sign_ins import SignedInPerson
from db.console.settings import ConsoleSettings
from db.console.web import cookies
from db.store.session import Database


def identify(database: Database, settings: ConsoleSettings, request: Request) -> SignedInPerson | None:
    """The signed-in person, whose idle time starts anew; None if there is none."""
    if settings.console_trusted_header:
        return _named_by_proxy(database, settings, request)
    token = cookies.read_cookie(request, cookies.SIGN_IN, secure=settings.secure)
    if token is None:
        return None
    with database.reading() as session:
        signed_in = sign_ins.find_sign_in(session, token, settings.console_idle_s)
        stale = signed_in is not None and sign_ins.is_stale(session, token)
    if stale:
        with database.writing() as session:
            sign_ins.touch(session, token)
    return signed_in


def client_address(settings: ConsoleSettings, request: Request) -> str:
    """The client's address: behind trusted proxies, the last part of X-Forwarded-For that is none of theirs.

    Each proxy adds the address that it saw, so whatever stands before that part is the client's own claim.
    """
    address = _peer(request)
    given = ",".join(request.headers.getlist("x-forwarded-for"))  # some proxies add a header instead of a part
    for part in reversed(given.split(",")):
        if not part.strip() or not _is_proxy(settings, address):
            break
        address = _without_port(part.strip())
    return address


def _named_by_proxy(database: Database, settings: ConsoleSettings, request: Request) -> SignedInPerson | None:
    """The header counts only from the proxy's own address, if it comes once and names somebody who was added here."""
    names = request.headers.getlist(settings.console_trusted_header)
    if len(names) != 1 or not _is_proxy(settings, _peer(request)):
        return None
    with database.reading() as session:
        person = people.find_person(session, names[0])
        return SignedInPerson(person.name, person.role) if person is not None and not person.disabled else None


def _peer(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _without_port(part: str) -> str:
    """Some proxies write ``192.0.2.1:4711`` or ``[2001:db8::1]:4711``, and each request has another port."""
    if part.startswith("["):
        return part[1:].partition("]")[0]
    return part.partition(":")[0] if part.count(":") == 1 else part


def _is_proxy(settings: ConsoleSettings, peer: str) -> bool:
    try:
        found = ip_address(peer)
    except ValueError:
        return False
    return any(found in network for network in settings.console_trusted_proxy)
