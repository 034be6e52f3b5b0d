"""Whom an OpenID provider's subjects are here. The provider's groups give the role, at each sign-in anew."""

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.access import audit, people
from db.errors import ConflictError, DeniedError
from db.schema import Person, ProviderIdentity, SignIn


@dataclass(frozen=True, slots=True)
class KnownIdentity:
    """A subject of an issuer: never another person's, unlike a name."""

    issuer: str
    subject: str


def person_of(session: Session, identity: KnownIdentity, name: str, role: str) -> Person:
    """The person of this identity, in this role from now on; added under the provider's name at the first sign-in.

    Raises `DeniedError` for a disabled person, `ConflictError` when the name is another person's, and `DbError` for a
    name that cannot be one.
    """
    found = session.get(ProviderIdentity, (identity.issuer, identity.subject))
    if found is None:
        return _add(session, identity, name.strip(), role)
    person = session.get_one(Person, found.person_id)
    if person.disabled:
        raise DeniedError(f"the person {person.name} is disabled here: ask a lead")
    if person.role != role:
        audit.log(session, person.name, "role_changed", detail=f"{person.role} to {role}, by OpenID groups")
    found.role = role  # a trigger makes it the person's: this login changes no other role
    session.flush()
    session.refresh(person)
    return person


def link_identity(session: Session, identity: KnownIdentity, person: Person) -> None:
    """Let this identity sign in as a person who is here already; raises `ConflictError` when either has another."""
    known = session.get(ProviderIdentity, (identity.issuer, identity.subject))
    theirs = session.scalar(select(ProviderIdentity).where(ProviderIdentity.person_id == person.id))
    if known is not None or theirs is not None:
        whose = (
            f"subject {identity.subject} is linked"
            if known is not None
            else f"the person {person.name} has an identity"
        )
        raise ConflictError(f"{whose} already")
    row = ProviderIdentity(issuer=identity.issuer, subject=identity.subject, person_id=person.id, role=person.role)
    session.add(row)
    session.flush()


def end_sign_ins(session: Session, identity: KnownIdentity | None, provider_session: str | None) -> list[str]:
    """End the sign-ins of one session at the provider, or all that an identity began there; returns whose they were.

    With both, only those that match both.
    """
    if identity is None and provider_session is None:
        return []
    statement = select(SignIn.digest, Person.name).join(Person, Person.id == SignIn.person_id)
    statement = statement.where(SignIn.provider_session.is_not(None))
    if identity is not None:
        owner = select(ProviderIdentity.person_id).where(
            ProviderIdentity.issuer == identity.issuer, ProviderIdentity.subject == identity.subject
        )
        statement = statement.where(SignIn.person_id.in_(owner))
    if provider_session is not None:
        statement = statement.where(SignIn.provider_session == provider_session)
    rows = session.execute(statement).all()
    session.execute(delete(SignIn).where(SignIn.digest.in_([row.digest for row in rows])))
    return sorted({row.name for row in rows})


def _add(session: Session, identity: KnownIdentity, name: str, role: str) -> Person:
    if people.find_person(session, name) is not None:
        raise ConflictError(
            f"the name {name} is registered here already, and not for your OpenID account: a lead can link the two "
            f"with `unmask reviewer identity {name} {identity.subject}`"
        )
    person = people.add_person(session, name, role)
    link_identity(session, identity, person)
    audit.log(session, name, "person_added", detail=f"{name} as {role}, by OpenID groups")
    return person
