"""Passwords, as argon2id keeps them (argon2-cffi's defaults are those of RFC 9106)."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from db.errors import DbError

#: By NIST SP 800-63B: a length, and no rules about characters; the limit keeps hashing cheap to refuse.
SHORTEST, LONGEST = 12, 1024


def hashed(password: str) -> str:
    """What may be kept of a password; raises `DbError` for one that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise DbError(f"a password of {len(password)} characters is not between {SHORTEST} and {LONGEST}")
    return PasswordHasher().hash(password)


def matches(kept: str | None, password: str) -> bool:
    """Whether it is the password; for somebody without one it takes as long, and is never."""
    try:
        return PasswordHasher().verify(kept or _nobodys(), password[:LONGEST]) and kept is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys() -> str:
    return PasswordHasher().hash("nobody's password")
