"""Passwords, hashed with argon2id (argon2-cffi's defaults follow RFC 9106)."""

import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from db.errors import DbError

#: As NIST SP 800-63B asks: a minimum length and no rules about characters. The maximum bounds the cost of hashing.
SHORTEST, LONGEST = 12, 1024
#: Each hash takes 64 MiB, so a process makes at most two at a time. No lock of the database is taken meanwhile by those
#: who hold one of the two.
_AT_ONCE = threading.BoundedSemaphore(2)


def hash_password(password: str) -> str:
    """The hash to store for a password; raises `DbError` for one that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise DbError(f"the password has {len(password)} characters: use {SHORTEST} to {LONGEST}")
    with _AT_ONCE:
        return PasswordHasher().hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Whether the password matches the stored hash. Without a hash (None) it never does, and takes as long."""
    with _AT_ONCE:
        try:
            return PasswordHasher().verify(stored or _dummy_hash(), password[:LONGEST]) and stored is not None
        except (VerificationError, InvalidHashError):
            return False


@cache
def _dummy_hash() -> str:
    return PasswordHasher().hash("nobody's password")
