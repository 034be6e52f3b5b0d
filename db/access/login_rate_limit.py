"""The rate limit of sign-ins: wrong passwords are counted in SQL, by name and by address.

Three limits hold within a window: for one name from one address; for all names from one address; and for one name from
all addresses together. The last does not count for addresses from which that person has signed in lately. So a
stranger who tries a name slows it down at the stranger's own address, and, with many addresses, at addresses where the
person has never been.
"""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from db.errors import DeniedError
from db.schema import ID_LENGTH, KnownAddress, Person, SignInTry
from db.schema.clock import moment
from db.store.dialect import insert
from db.store.session import Database

#: An address stays known for this long after a sign-in from there.
KNOWN_S = 30 * 86_400.0
#: The owner of one IPv6 address usually owns its whole /64 network.
_IPV6_PREFIX = 64


@dataclass(frozen=True, slots=True)
class LoginRateLimit:
    """Maximum wrong passwords per window: for a name from one address, from an address, and for a name in all."""

    per_name: int
    per_address: int
    per_name_in_all: int
    window_s: float


def record_attempt(database: Database, name: str, address: str, limit: LoginRateLimit) -> int:
    """Record an attempt before its password is checked; returns its id. Raises `DeniedError` above the limit.

    The attempt is committed before attempts are counted, so that concurrent attempts count each other.
    """
    name, address = name[:ID_LENGTH], _counted_as(address)
    with database.writing() as session:
        session.execute(delete(SignInTry).where(SignInTry.created_at <= moment(-limit.window_s)))
        row = SignInTry(name=name, address=address)
        session.add(row)
        session.flush()
        attempt_id = row.id
    with database.writing() as session:
        refused = _exceeded(session, name, address, limit)
        if refused:
            discard_attempt(session, attempt_id)  # a refused attempt does not prolong the refusal
    if refused:
        raise DeniedError(f"too many wrong passwords: try again in {limit.window_s / 60:.0f} minutes")
    return attempt_id


def discard_attempt(session: Session, attempt_id: int) -> None:
    """Remove an attempt whose password was right."""
    session.execute(delete(SignInTry).where(SignInTry.id == attempt_id))


def remember_address(session: Session, person: Person, address: str) -> None:
    """Record that this person signed in from this address, and delete addresses that are older than `KNOWN_S`."""
    session.execute(delete(KnownAddress).where(KnownAddress.seen_at <= moment(-KNOWN_S)))
    statement = insert(session, KnownAddress).values(person_id=person.id, address=_counted_as(address))
    key = ["person_id", "address"]
    session.execute(statement.on_conflict_do_update(index_elements=key, set_={"seen_at": moment()}))


def _counted_as(address: str) -> str:
    """The address under which attempts count: an IPv6 address counts as its network."""
    try:
        found = ip_address(address.split("%", maxsplit=1)[0])
    except ValueError:
        return address[:ID_LENGTH]
    if isinstance(found, IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped or ip_network((found, _IPV6_PREFIX), strict=False))
    return str(found)


def _exceeded(session: Session, name: str, address: str, limit: LoginRateLimit) -> bool:
    by_name, by_address = SignInTry.name == name, SignInTry.address == address
    if _count(session, by_name & by_address, limit.window_s) > limit.per_name:
        return True
    if _count(session, by_address, limit.window_s) > limit.per_address:
        return True
    in_all = _count(session, by_name, limit.window_s)
    return in_all > limit.per_name_in_all and not _is_known(session, name, address)


def _count(session: Session, which: ColumnElement[bool], window_s: float) -> int:
    statement = select(func.count(SignInTry.id)).where(which, SignInTry.created_at > moment(-window_s))
    return session.scalar(statement) or 0


def _is_known(session: Session, name: str, address: str) -> bool:
    """Whether the person with this name has signed in from this address lately."""
    statement = select(KnownAddress.person_id).join(Person, Person.id == KnownAddress.person_id)
    recent = KnownAddress.seen_at > moment(-KNOWN_S)
    return session.scalar(statement.where(Person.name == name, KnownAddress.address == address, recent)) is not None
