"""Pseudonyms for accounts in logs and reports: they show that it was the same account, not whose it is."""

import hashlib
import hmac
import secrets

from pydantic import Field

from db.settings import Environment

_SHOWN = 16


class PseudonymSettings(Environment):
    """How logs and reports name accounts."""

    #: Key of the hash of account ids: with it, all of an installation's logs can be joined; without, each process has
    #: its own.
    log_key: str = Field(default="", repr=False)
    #: Write account ids themselves instead.
    log_accounts: bool = False


class Pseudonyms:
    """The same pseudonym for the same account and key (HMAC-SHA256); it does not reveal the account."""

    def __init__(self, settings: PseudonymSettings) -> None:
        self._plain = settings.log_accounts
        self._key = settings.log_key.encode() or secrets.token_bytes(32)

    def of(self, account_id: str) -> str:
        """The account's pseudonym, or its id where the settings allow that."""
        if self._plain:
            return account_id
        return hmac.new(self._key, account_id.encode(), hashlib.sha256).hexdigest()[:_SHOWN]
