"""Passwords are kept at the cost that RFC 9106 recommends; other tests hash at a lower one."""

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY

from db.access import passwords


def test_a_password_is_hashed_at_the_cost_that_rfc_9106_recommends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "PasswordHasher", PasswordHasher)  # as in production

    kept = passwords.hash_password("correct horse battery")

    assert extract_parameters(kept) == RFC_9106_LOW_MEMORY
    assert passwords.verify_password(kept, "correct horse battery")
