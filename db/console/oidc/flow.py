"""One sign-in under way: a secret in the browser's cookie, from which state, nonce and PKCE verifier derive.

Nothing is stored here. Whoever lacks the cookie can neither finish somebody's sign-in nor make somebody finish theirs.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, unquote

from db.console.web.forms import local_path

_LONGEST_PATH = 1000


@dataclass(frozen=True, slots=True)
class SignInFlow:
    """The secret, and the page to go to afterwards."""

    secret: str
    next_path: str

    @classmethod
    def begin(cls, next_path: str) -> Self:
        """A new sign-in."""
        path = local_path(next_path)
        return cls(secrets.token_urlsafe(32), path if len(path) <= _LONGEST_PATH else "/")

    @classmethod
    def parse(cls, cookie: str | None) -> Self | None:
        """The sign-in that this cookie began; None without a usable one."""
        secret, dot, path = (cookie or "").partition(".")
        return cls(secret, local_path(unquote(path))) if dot and len(secret) >= 43 else None  # noqa: PLR2004 - 32 bytes

    def __str__(self) -> str:
        return f"{self.secret}.{quote(self.next_path, safe='')}"

    @property
    def state(self) -> str:
        """Ties the provider's answer to this browser."""
        return self._derive("state")

    @property
    def nonce(self) -> str:
        """Ties the ID token to this sign-in."""
        return self._derive("nonce")

    @property
    def verifier(self) -> str:
        """PKCE: ties the authorisation code to this sign-in."""
        return self._derive("verifier")

    def is_state(self, given: str) -> bool:
        """Whether the provider's answer belongs to this sign-in."""
        return hmac.compare_digest(self.state.encode(), given.encode())

    def _derive(self, purpose: str) -> str:
        return hmac.new(self.secret.encode(), f"oidc {purpose}".encode(), hashlib.sha256).hexdigest()
