"""Who is signed in, and one-time links: random tokens, of which the record keeps only the SHA-256."""

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.errors import DeniedError
from db.schema import Person, SignIn, SignInLink

#: A link is used at once, or not at all.
LINK_S = 15 * 60.0
#: How stale ``seen_at`` may be: a page is not to write each time it is read.
_SEEN_S = 60.0
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Signed:
    """Somebody who is signed in."""

    name: str
    role: str


def begin(session: Session, person: Person, longest_s: float) -> str:
    """Sign somebody in for ``longest_s`` at most; returns the browser's token. Ended ones are swept out."""
    session.execute(delete(SignIn).where(SignIn.expires_at <= moment()))
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    session.add(SignIn(digest=_digest(token), person_id=person.id, expires_at=moment(longest_s)))
    session.flush()
    return token


def find(session: Session, token: str, idle_s: float) -> Signed | None:
    """Who has this token, unless it expired, was idle for too long, or the person was disabled."""
    statement = (
        select(Person.name, Person.role)
        .join(SignIn, SignIn.person_id == Person.id)
        .where(SignIn.digest == _digest(token), SignIn.expires_at > moment(), SignIn.seen_at > moment(-idle_s))
        .where(~Person.disabled)
    )
    row = session.execute(statement).one_or_none()
    return Signed(row.name, row.role) if row is not None else None


def is_stale(session: Session, token: str) -> bool:
    """Whether it is time to write down again that it was seen."""
    statement = select(SignIn.digest).where(SignIn.digest == _digest(token), SignIn.seen_at <= moment(-_SEEN_S))
    return session.scalar(statement) is not None


def see(session: Session, token: str) -> None:
    """It was heard of now."""
    session.execute(update(SignIn).where(SignIn.digest == _digest(token)).values(seen_at=moment()))


def end(session: Session, token: str) -> None:
    """Sign this browser out."""
    session.execute(delete(SignIn).where(SignIn.digest == _digest(token)))


def end_all(session: Session, person_id: int) -> None:
    """Sign somebody out everywhere, and let no link of theirs work."""
    session.execute(delete(SignIn).where(SignIn.person_id == person_id))
    session.execute(delete(SignInLink).where(SignInLink.person_id == person_id))


def make_link(session: Session, person: Person, link_s: float = LINK_S) -> str:
    """A token that signs somebody in once, within ``link_s``. Expired ones are swept out."""
    if person.disabled:
        raise DeniedError(f"{person.name} is disabled")
    session.execute(delete(SignInLink).where(SignInLink.expires_at <= moment()))
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    session.add(SignInLink(digest=_digest(token), person_id=person.id, expires_at=moment(link_s)))
    session.flush()
    return token


def links_person(session: Session, token: str) -> Person | None:
    """Whom a link would sign in; the link stays."""
    statement = (
        select(Person)
        .join(SignInLink, SignInLink.person_id == Person.id)
        .where(SignInLink.digest == _digest(token), SignInLink.expires_at > moment(), ~Person.disabled)
    )
    return session.scalar(statement)


def use_link(session: Session, token: str) -> Person:
    """Use a link up; raises `DeniedError` for one that was used, has expired, or never was."""
    used = delete(SignInLink).where(SignInLink.digest == _digest(token), SignInLink.expires_at > moment())
    person_id = session.scalar(used.returning(SignInLink.person_id))
    person = session.get(Person, person_id) if person_id is not None else None
    if person is None or person.disabled:
        raise DeniedError("this link was used, or has expired: ask for another one")
    return person


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
