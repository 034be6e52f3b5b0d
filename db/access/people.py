"""People who may sign in to the console, each with a role: reviewers decide, leads also manage, auditors read."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.errors import ConflictError, DbError, NotFoundError
from db.access.passwords import hashed
from db.schema import ID_LENGTH, ROLES, Person
from db.access.sign_ins import end_all


def add(session: Session, name: str, role: str, password: str | None = None) -> Person:
    """Enter somebody; without a password they sign in by link, or through a trusted proxy."""
    if not 1 <= len(name) <= ID_LENGTH:
        raise DbError(f"a name of {len(name)} characters is not between 1 and {ID_LENGTH}")
    if name != name.strip() or not name.isprintable():
        raise DbError(f"name {name!r} begins or ends with a space, or holds what cannot be printed")
    if role not in ROLES:
        raise DbError(f"role {role!r} is none of {', '.join(ROLES)}")
    if find(session, name) is not None:
        raise ConflictError(f"{name} is there already")
    person = Person(name=name, role=role, password=hashed(password) if password is not None else None)
    session.add(person)
    session.flush()
    return person


def find(session: Session, name: str) -> Person | None:
    """Somebody by name, disabled or not."""
    return session.scalar(select(Person).where(Person.name == name))


def named(session: Session, name: str) -> Person:
    """Somebody by name; raises `NotFoundError`."""
    person = find(session, name)
    if person is None:
        raise NotFoundError(f"{name} is not among the console's people: run `unmask reviewer add`")
    return person


def listed(session: Session) -> list[Person]:
    """Everybody, by name."""
    return list(session.scalars(select(Person).order_by(Person.name)))


def set_password(session: Session, person: Person, password: str) -> None:
    """Give somebody a password; whoever is signed in under this name is not any more."""
    person.password, person.changed_at = hashed(password), moment()
    end_all(session, person.id)


def disable(session: Session, person: Person, *, disabled: bool = True) -> None:
    """Keep somebody out, at once, or let them in again."""
    person.disabled, person.changed_at = disabled, moment()
    end_all(session, person.id)
