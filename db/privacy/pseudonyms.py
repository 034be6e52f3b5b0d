"""Names for accounts, where it must be said that it was the same one and not whose it is: in logs and reports."""

import hashlib
import hmac
import secrets

from pydantic import Field

from db.settings import Environment

_SHOWN = 16


class PseudonymSettings(Environment):
    """How accounts are named."""

    #: Keys the hash of account ids, so that what one installation writes can be joined; without it nothing can.
    log_key: str = Field(default="", repr=False)
    #: Accounts by their ids instead.
    log_accounts: bool = False


class Pseudonyms:
    """The same name for the same account and key (HMAC-SHA256), from which the account cannot be found."""

    def __init__(self, settings: PseudonymSettings) -> None:
        self._plain = settings.log_accounts
        self._key = settings.log_key.encode() or secrets.token_bytes(32)

    def of(self, account_id: str) -> str:
        """What may be written in this account's place."""
        if self._plain:
            return account_id
        return hmac.new(self._key, account_id.encode(), hashlib.sha256).hexdigest()[:_SHOWN]
