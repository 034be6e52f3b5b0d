"""Passwords cannot be guessed at leisure: wrong ones are counted in SQL, by name and by address."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.errors import DeniedError
from db.schema import ID_LENGTH, SignInTry
from db.store.session import Database


@dataclass(frozen=True, slots=True)
class Patience:
    """How many wrong passwords are borne within a while."""

    per_name: int
    per_address: int
    window_s: float


def attempt(database: Database, name: str, address: str, patience: Patience) -> int:
    """Count a try before its password is looked at; raises `DeniedError` when there were too many. Its id.

    It is committed before it is counted, so that tries that come at once are not each the first.
    """
    with database.writing() as session:
        session.execute(delete(SignInTry).where(SignInTry.created_at <= moment(-patience.window_s)))
        row = SignInTry(name=name[:ID_LENGTH], address=address[:ID_LENGTH])
        session.add(row)
        session.flush()
        mine = row.id
    with database.writing() as session:
        refused = _too_many(session, name[:ID_LENGTH], address[:ID_LENGTH], patience)
        if refused:
            forgive(session, mine)  # who is refused does not make it last longer
    if refused:
        raise DeniedError(f"too many wrong passwords: try again in {patience.window_s / 60:.0f} minutes")
    return mine


def forgive(session: Session, try_id: int) -> None:
    """This one was no wrong password."""
    session.execute(delete(SignInTry).where(SignInTry.id == try_id))


def _too_many(session: Session, name: str, address: str, patience: Patience) -> bool:
    by_name = _count(session, SignInTry.name == name, patience.window_s)
    by_address = _count(session, SignInTry.address == address, patience.window_s)
    return by_name > patience.per_name or by_address > patience.per_address


def _count(session: Session, which: ColumnElement[bool], window_s: float) -> int:
    statement = select(func.count(SignInTry.id)).where(which, SignInTry.created_at > moment(-window_s))
    return session.scalar(statement) or 0
