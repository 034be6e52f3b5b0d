"""Authorisation of commands: once people are registered, only they may act, in the roles that the console requires."""

from collections.abc import Sequence

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db.access import audit
from db.errors import DeniedError
from db.schema import Person
from db.store.ids import check_id

#: Roles that decide cases and judge samples, and roles that manage.
DECIDERS = ("reviewer", "lead")
LEADS = ("lead",)
#: The name of a reviewer's own login on PostgreSQL: deploy/sql/roles.sql lets it write in no other name.
_OWN_NAME = text("""
    SELECT session_user WHERE pg_has_role(session_user, to_regrole('unmask_reviewer'), 'MEMBER')
    AND NOT pg_has_role(session_user, to_regrole('unmask_console'), 'MEMBER')
""")


def require_actor(session: Session, name: str, roles: Sequence[str]) -> str:
    """Return the name if this person may act in one of these roles; raises `DeniedError`, or `IdError` for a bad name.

    While nobody is registered, everybody may act.
    """
    check_id("UNMASK_ACTOR", name)
    _require_own_login(session, name)
    found = select(Person.role, Person.disabled).where(Person.name == name)
    person = session.execute(found).one_or_none()
    if person is None and session.scalar(select(Person.id).limit(1)) is not None:
        raise DeniedError(
            f"{name} is not registered: set UNMASK_ACTOR to one of the people that `unmask reviewer list` shows"
        )
    if person is not None and person.disabled:
        raise DeniedError(f"{name} is disabled")
    if person is not None and person.role not in roles:
        raise DeniedError(f"{name} is registered as {person.role}: only a {' or '.join(roles)} may do this")
    return name


def require_manager(session: Session, name: str) -> str:
    """As `require_actor` for leads. While there is no lead, anybody may manage people, so that somebody can add one."""
    lead = select(Person.id).where(Person.role.in_(LEADS), ~Person.disabled).limit(1)
    if session.scalar(lead) is None:
        return check_id("UNMASK_ACTOR", name)
    return require_actor(session, name, LEADS)


def log_command(session: Session, name: str, command: str) -> None:
    """Write into the audit log who gave which command; the command's own history, if any, has the result."""
    audit.log(session, name, "command", detail=command)


def _require_own_login(session: Session, name: str) -> None:
    if session.get_bind().dialect.name != "postgresql":
        return
    login = session.scalar(_OWN_NAME)
    if login is not None and login != name:
        raise DeniedError(f"UNMASK_ACTOR is {name}, but this database login is {login}'s: it acts in no other name")
