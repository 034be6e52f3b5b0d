"""Keys of the HTTP API: 256 random bits, shown once. The database keeps only their SHA-256."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from db.errors import ConflictError, DbError, NotFoundError
from db.schema import ApiKey
from db.schema.clock import moment
from db.store.ids import check_new_id, look_alike

#: What a key may do with photos: submit them, read their verdicts, delete them.
SCOPES = ("submit", "read", "delete")
_KEY = re.compile(r"unmask_[A-Za-z0-9_-]{43}")
_KEY_BYTES = 32
#: How stale ``last_used_at`` may be, in seconds: not every request should write.
_SEEN_S = 60.0


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a key. ``policy`` is the only one whose photos the key may use; None means every policy."""

    key_id: int
    name: str
    scopes: frozenset[str]
    policy: str | None
    rate_per_minute: int | None


def add_key(
    session: Session,
    name: str,
    scopes: Collection[str],
    author: str,
    *,
    policy: str | None = None,
    rate_per_minute: int | None = None,
) -> str:
    """Add a key and return it: nobody can read it again.

    Raises `ConflictError` when the name was used before, `IdError` for an invalid name, `DbError` for wrong scopes.
    """
    check_new_id("key name", name)
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise DbError(f"scopes must be among {', '.join(SCOPES)}: {', '.join(unknown) or 'none given'}")
    other = look_alike(name, session.scalars(select(ApiKey.name)))
    if other is not None:
        looks = "" if other == name else f"looks like {other!r}, which "
        raise ConflictError(f"key {name!r} {looks}exists or was revoked: choose another name")
    key = f"unmask_{secrets.token_urlsafe(_KEY_BYTES)}"
    row = ApiKey(
        name=name,
        sha256=_digest(key),
        scopes=",".join(scope for scope in SCOPES if scope in scopes),
        policy=policy,
        rate_per_minute=rate_per_minute,
        created_by=author,
    )
    session.add(row)
    session.flush()
    return key


def list_keys(session: Session) -> list[ApiKey]:
    """Every key, also the revoked ones, by name."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.name)))


def revoke_key(session: Session, name: str) -> ApiKey:
    """Revoke a key; raises `NotFoundError`. Revoking it again keeps the time of the first revocation."""
    row = session.scalar(select(ApiKey).where(ApiKey.name == name))
    if row is None:
        raise NotFoundError(f"key {name!r} is not in the record")
    session.execute(update(ApiKey).where(ApiKey.id == row.id, ApiKey.revoked_at.is_(None)).values(revoked_at=moment()))
    session.refresh(row)
    return row


def find(session: Session, key: str) -> Caller | None:
    """The caller with this key; None when the key is malformed, unknown or revoked."""
    if not _KEY.fullmatch(key):
        return None
    digest = _digest(key)
    row = session.scalar(select(ApiKey).where(ApiKey.sha256 == digest, ApiKey.revoked_at.is_(None)))
    if row is None or not hmac.compare_digest(row.sha256, digest):
        return None
    return Caller(row.id, row.name, frozenset(row.scopes.split(",")), row.policy, row.rate_per_minute)


def note_use(session: Session, key_id: int) -> None:
    """Set ``last_used_at`` to now, unless it is less than a minute old."""
    stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= moment(-_SEEN_S))
    session.execute(update(ApiKey).where(ApiKey.id == key_id, stale).values(last_used_at=moment()))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
