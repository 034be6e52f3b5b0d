"""Requests to the OpenID provider: its metadata, its keys, and an authorisation code for tokens.

Each request goes to a configured host, follows no redirect, and has a timeout. Metadata and keys are cached.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from requests import RequestException, Response

from db.console.oidc import tokens
from db.console.oidc.settings import OidcSettings
from db.console.oidc.tokens import Expected, LoggedOut, TokenError
from db.errors import BusyError, DbError

#: How long metadata and keys are used, and how soon keys may be fetched again for a token that none of them signed.
_FRESH_S, _AGAIN_S = 3600.0, 30.0
#: Requests to the provider at one time: strangers may begin sign-ins, and must not take all threads.
_AT_ONCE = 8


_Found = TypeVar("_Found")


class ProviderError(DbError):
    """The OpenID provider cannot be reached, or its answer cannot be used."""


class _IssuerSession(OAuth2Session):  # type: ignore[misc]  # Authlib has no types
    """Sends requests to the configured hosts only."""

    def __init__(self, settings: OidcSettings, redirect_uri: str) -> None:
        super().__init__(
            settings.oidc_client_id,
            settings.oidc_client_secret or None,
            scope=settings.oidc_scopes,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            default_timeout=settings.oidc_timeout_s,
        )
        self.trust_env = False  # neither a proxy nor the credentials of a .netrc
        self.verify = str(settings.oidc_ca_file) if settings.oidc_ca_file is not None else True
        self._hosts, self._safe = settings.hosts, urlsplit(settings.oidc_issuer).scheme

    def request(self, method: str, url: str, *args: Any, **options: Any) -> Response:
        """Send a request; raises `ProviderError` for another host."""
        parts = urlsplit(url)
        if parts.netloc not in self._hosts or parts.scheme != self._safe:
            raise ProviderError(f"the OpenID provider names {parts.netloc}, which is not in UNMASK_OIDC_HOSTS")
        answer: Response = super().request(method, url, *args, **options | {"allow_redirects": False})
        return answer


class Provider:
    """The configured provider, for all threads of the console."""

    def __init__(self, settings: OidcSettings, console_url: str, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.redirect_uri = f"{console_url.rstrip('/')}/oidc/callback"
        self.console_url = console_url.rstrip("/")
        self._clock = clock
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._cached: dict[str, tuple[float, Any]] = {}

    @property
    def expected(self) -> Expected:
        """What tokens must say."""
        return Expected(self.settings.oidc_issuer, self.settings.oidc_client_id)

    def authorization_url(self, state: str, nonce: str, verifier: str) -> str:
        """Where the browser goes to sign in; raises `ProviderError`."""
        with self.session() as session:
            endpoint = self._endpoint(session, "authorization_endpoint")
            url, _ = session.create_authorization_url(endpoint, state=state, nonce=nonce, code_verifier=verifier)
        return str(url)

    def redeem(self, code: str, nonce: str, verifier: str) -> dict[str, Any]:
        """The claims of whoever signed in; raises `ProviderError`, or `TokenError` for a token that is not valid."""
        with self.session() as session:
            endpoint = self._endpoint(session, "token_endpoint")
            answer = session.fetch_token(endpoint, code=code, code_verifier=verifier, grant_type="authorization_code")
            id_token, access_token = (str(answer.get(name, "")) for name in ("id_token", "access_token"))
            claims = self._read(
                session,
                lambda keys: tokens.read_id_token(id_token, keys, self.expected, nonce, access_token, self._clock()),
            )
            return claims | self._userinfo(session, claims)

    def read_logout_token(self, token: str) -> LoggedOut:
        """Who was signed out; raises `ProviderError`, or `TokenError`."""
        with self.session() as session:
            return self._read(session, lambda keys: tokens.read_logout_token(token, keys, self.expected, self._clock()))

    def end_session_url(self) -> str | None:
        """Where the browser signs out of the provider, if it has such a page and can be reached."""
        try:
            with self.session() as session:
                found = self._metadata(session).get("end_session_endpoint")
        except (ProviderError, BusyError):
            return None
        return str(found) if found else None

    def _userinfo(self, session: OAuth2Session, claims: Mapping[str, Any]) -> dict[str, Any]:
        """Claims that the provider has only there, as many have groups; they must be of the same subject."""
        missing = {self.settings.oidc_groups_claim, self.settings.oidc_name_claim} - claims.keys()
        endpoint = self._metadata(session).get("userinfo_endpoint")
        if not missing or not endpoint:
            return {}
        found = _json(session.get(str(endpoint)))
        if found.get("sub") != claims["sub"]:
            raise TokenError("the provider's user information describes another person")
        return {name: found[name] for name in missing & found.keys()}

    def _read(self, session: OAuth2Session, read: Callable[[KeySet], _Found]) -> _Found:
        """Read a token; once more with the provider's present keys, which it may have changed."""
        try:
            return read(self._keys(session, _FRESH_S))
        except TokenError:
            return read(self._keys(session, _AGAIN_S))

    def _keys(self, session: OAuth2Session, fresh_s: float) -> KeySet:
        endpoint = self._endpoint(session, "jwks_uri")
        return KeySet.import_key_set(self._cache(session, endpoint, fresh_s))  # type: ignore[arg-type]  # JSON

    def _endpoint(self, session: OAuth2Session, name: str) -> str:
        found = self._metadata(session).get(name)
        if not isinstance(found, str):
            raise ProviderError(f"the OpenID provider names no {name}")
        return found

    def _metadata(self, session: OAuth2Session) -> dict[str, Any]:
        url = f"{self.settings.oidc_issuer.rstrip('/')}/.well-known/openid-configuration"
        found = self._cache(session, url, _FRESH_S)
        if found.get("issuer") != self.settings.oidc_issuer:
            raise ProviderError(f"the OpenID provider calls itself {found.get('issuer')}, not UNMASK_OIDC_ISSUER")
        return found

    def _cache(self, session: OAuth2Session, url: str, fresh_s: float) -> dict[str, Any]:
        with self._lock:
            at, known = self._cached.get(url, (0.0, None))
        if known is None or self._clock() - at > fresh_s:
            known = _json(session.get(url, withhold_token=True))
            with self._lock:
                self._cached[url] = self._clock(), known
        document: dict[str, Any] = known
        return document

    @contextmanager
    def session(self) -> Iterator[OAuth2Session]:
        """A session for a few requests; raises `BusyError`, and `ProviderError` when one of them fails."""
        if not self._places.acquire(blocking=False):
            raise BusyError("too many people are signing in at this moment: try again in a few seconds")
        try:
            with _IssuerSession(self.settings, self.redirect_uri) as session:
                yield session
        except (RequestException, AuthlibBaseError, JoseError, ValueError) as error:
            what = getattr(error, "error", None) or type(error).__name__  # such as OAuth's "invalid_client"
            raise ProviderError(f"the OpenID provider did not answer as expected: {what}") from error
        finally:
            self._places.release()


def _json(answer: Response) -> dict[str, Any]:
    answer.raise_for_status()
    found = answer.json() if answer.ok and not answer.is_redirect else None
    if not isinstance(found, dict):
        raise ProviderError(f"the OpenID provider answered {answer.status_code} without a JSON object")
    return found
