"""People who may sign in to the console, each with a role: reviewers decide, leads also manage, auditors only read."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.access.passwords import hash_password
from db.access.sign_ins import revoke_all
from db.errors import ConflictError, DbError, NotFoundError
from db.schema import ID_LENGTH, ROLES, Person
from db.schema.clock import moment
from db.store.ids import look_alike


def add_person(session: Session, name: str, role: str, password: str | None = None) -> Person:
    """Add a person; without a password they sign in by link or through a trusted proxy.

    Raises `DbError` for an invalid name, role or password, and `ConflictError` for a name that exists or looks
    like one.
    """
    if not 1 <= len(name) <= ID_LENGTH:
        raise DbError(f"the name has {len(name)} characters: use 1 to {ID_LENGTH}")
    if name != name.strip() or not name.isprintable():
        raise DbError(f"the name {name!r} starts or ends with a space, or has unprintable characters")
    if role not in ROLES:
        raise DbError(f"role {role!r} is not one of {', '.join(ROLES)}")
    other = look_alike(name, session.scalars(select(Person.name)))
    if other is not None:  # the log names people, and two of them must agree
        raise ConflictError(f"{other} already exists" + ("" if other == name else f", and looks like {name}"))
    person = Person(name=name, role=role, password=hash_password(password) if password is not None else None)
    session.add(person)
    session.flush()
    return person


def find_person(session: Session, name: str) -> Person | None:
    """A person by name, disabled or not; None if there is none."""
    return session.scalar(select(Person).where(Person.name == name))


def get_by_name(session: Session, name: str) -> Person:
    """A person by name, disabled or not; raises `NotFoundError`."""
    person = find_person(session, name)
    if person is None:
        raise NotFoundError(f"nobody is named {name}: add them with `unmask reviewer add`")
    return person


def list_people(session: Session) -> list[Person]:
    """All people, by name, including the disabled."""
    return list(session.scalars(select(Person).order_by(Person.name)))


def set_password(session: Session, person: Person, password: str) -> None:
    """Set a person's password and sign them out everywhere; raises `DbError` for one that is too short or long."""
    person.password, person.changed_at = hash_password(password), moment()
    revoke_all(session, person.id)


def set_disabled(session: Session, person: Person, *, disabled: bool) -> None:
    """Disable or enable a person; either signs them out everywhere at once."""
    person.disabled, person.changed_at = disabled, moment()
    revoke_all(session, person.id)
