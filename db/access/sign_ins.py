"""Sign-ins and one-time links: random tokens, of which the database holds only the SHA-256."""

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from db.errors import DeniedError
from db.schema import Person, SignIn, SignInLink
from db.schema.clock import moment

#: How long a one-time link works by default.
LINK_S = 15 * 60.0
#: ``seen_at`` is updated at most this often, so that reading a page rarely writes.
_SEEN_S = 60.0
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class SignedInPerson:
    """A signed-in person and their role."""

    name: str
    role: str


def start_sign_in(session: Session, person: Person, longest_s: float, provider_session: str | None = None) -> str:
    """Sign a person in for at most ``longest_s``; returns the browser's token. Deletes expired sign-ins.

    ``provider_session``: the session at the OpenID provider, "" where it names none, None without a provider.
    """
    session.execute(delete(SignIn).where(SignIn.expires_at <= moment()))
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    row = SignIn(digest=_digest(token), person_id=person.id, expires_at=moment(longest_s))
    row.provider_session = provider_session
    session.add(row)
    session.flush()
    return token


def find_sign_in(session: Session, token: str, idle_s: float) -> SignedInPerson | None:
    """Whose token this is; None when it has expired, was idle for ``idle_s``, or the person is disabled."""
    statement = (
        select(Person.name, Person.role)
        .join(SignIn, SignIn.person_id == Person.id)
        .where(SignIn.digest == _digest(token), SignIn.expires_at > moment(), SignIn.seen_at > moment(-idle_s))
        .where(~Person.disabled)
    )
    row = session.execute(statement).one_or_none()
    return SignedInPerson(row.name, row.role) if row is not None else None


def is_stale(session: Session, token: str) -> bool:
    """Whether it is time to `touch` this sign-in."""
    statement = select(SignIn.digest).where(SignIn.digest == _digest(token), SignIn.seen_at <= moment(-_SEEN_S))
    return session.scalar(statement) is not None


def touch(session: Session, token: str) -> None:
    """Record that a sign-in was used just now."""
    session.execute(update(SignIn).where(SignIn.digest == _digest(token)).values(seen_at=moment()))


def revoke(session: Session, token: str) -> None:
    """Delete the sign-in of one browser's token."""
    session.execute(delete(SignIn).where(SignIn.digest == _digest(token)))


def revoke_all(session: Session, person_id: int) -> None:
    """Sign a person out everywhere, and revoke their links."""
    session.execute(delete(SignIn).where(SignIn.person_id == person_id))
    session.execute(delete(SignInLink).where(SignInLink.person_id == person_id))


def make_link(session: Session, person: Person, link_s: float = LINK_S) -> str:
    """The token of a new one-time link, valid for ``link_s``. Deletes expired links.

    Raises `DeniedError` for a disabled person.
    """
    if person.disabled:
        raise DeniedError(f"{person.name} is disabled")
    session.execute(delete(SignInLink).where(SignInLink.expires_at <= moment()))
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    session.add(SignInLink(digest=_digest(token), person_id=person.id, expires_at=moment(link_s)))
    session.flush()
    return token


def find_by_link(session: Session, token: str) -> Person | None:
    """The person whom a link would sign in, without using it up; None when it does not work."""
    statement = (
        select(Person)
        .join(SignInLink, SignInLink.person_id == Person.id)
        .where(SignInLink.digest == _digest(token), SignInLink.expires_at > moment(), ~Person.disabled)
    )
    return session.scalar(statement)


def redeem_link(session: Session, token: str) -> Person:
    """Use a link up and return its person; raises `DeniedError` when it was used, has expired or never existed."""
    used = delete(SignInLink).where(SignInLink.digest == _digest(token), SignInLink.expires_at > moment())
    person_id = session.scalar(used.returning(SignInLink.person_id))
    person = session.get(Person, person_id) if person_id is not None else None
    if person is None or person.disabled:
        raise DeniedError("this link has been used or has expired: ask for a new one")
    return person


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
