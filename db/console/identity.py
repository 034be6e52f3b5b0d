"""Who a request is from: a browser that signed in, or whoever a trusted proxy names."""

from ipaddress import ip_address

from starlette.requests import Request

from db.access import people, sign_ins
from db.console import cookies
from db.console.settings import ConsoleSettings
from db.store.session import Database
from db.access.sign_ins import Signed


def identify(database: Database, settings: ConsoleSettings, request: Request) -> Signed | None:
    """Somebody, or nobody. A sign-in that is used is kept alive."""
    if settings.console_trusted_header:
        return _named_by_proxy(database, settings, request)
    token = cookies.get(request, cookies.SIGN_IN, secure=settings.secure)
    if token is None:
        return None
    with database.reading() as session:
        signed = sign_ins.find(session, token, settings.console_idle_s)
        stale = signed is not None and sign_ins.is_stale(session, token)
    if stale:
        with database.writing() as session:
            sign_ins.see(session, token)
    return signed


def address(settings: ConsoleSettings, request: Request) -> str:
    """Where it comes from: of what a trusted proxy says, the last that it added itself."""
    peer = request.client.host if request.client is not None else ""
    said = ",".join(request.headers.getlist("x-forwarded-for"))  # some proxies add a line instead of a word
    forwarded = said.rpartition(",")[2].strip()
    return forwarded if forwarded and _is_proxy(settings, peer) else peer


def _named_by_proxy(database: Database, settings: ConsoleSettings, request: Request) -> Signed | None:
    """The header counts only from the proxy's own address, once, and for somebody who was added here."""
    names = request.headers.getlist(settings.console_trusted_header)
    peer = request.client.host if request.client is not None else ""
    if len(names) != 1 or not _is_proxy(settings, peer):
        return None
    with database.reading() as session:
        person = people.find(session, names[0])
        return Signed(person.name, person.role) if person is not None and not person.disabled else None


def _is_proxy(settings: ConsoleSettings, peer: str) -> bool:
    try:
        found = ip_address(peer)
    except ValueError:
        return False
    return any(found in network for network in settings.console_trusted_proxy)
