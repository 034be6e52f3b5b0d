"""Checks of what an OpenID provider signs: ID tokens and logout tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from db.errors import DeniedError

#: Signatures by the provider's key pair; never "none", nor a secret that we share.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
#: The difference between two clocks that is accepted, and the age of a logout token.
_LEEWAY_S, _LOGOUT_S = 60, 300


class TokenError(DeniedError):
    """A token that this provider did not issue for us, now."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Whose tokens count, and for which client."""

    issuer: str
    client_id: str


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """Who was signed out at the provider: a session there, or all of a subject's."""

    subject: str | None
    session: str | None


def read_id_token(
    token: str, keys: KeySet, expected: Expected, nonce: str, access_token: str, now: float
) -> dict[str, Any]:
    """The claims of an ID token; raises `TokenError`.

    OpenID Connect Core 1.0, section 3.1.3.7.
    """
    claims, header = _decode(token, keys)
    _check_audience(claims, expected)
    params = {"nonce": nonce, "client_id": expected.client_id, "access_token": access_token}
    checked = CodeIDToken(claims, header, {"iss": {"essential": True, "value": expected.issuer}}, params)
    try:
        checked.validate(int(now), _LEEWAY_S)
    except JoseError as error:
        raise TokenError(f"the provider's ID token is not valid: {error}") from error
    return claims


def read_logout_token(token: str, keys: KeySet, expected: Expected, now: float) -> LoggedOut:
    """Who a logout token signs out; raises `TokenError`.

    OpenID Connect Back-Channel Logout 1.0, section 2.6.
    """
    claims, _ = _decode(token, keys)
    _check_audience(claims, expected)
    events, subject, session = (claims.get(name) for name in ("events", "sub", "sid"))
    issued, expires = claims.get("iat"), claims.get("exp", now + 1)
    wrong = {
        "iss": claims.get("iss") != expected.issuer,
        "iat": not isinstance(issued, int | float) or not -_LEEWAY_S <= now - issued <= _LOGOUT_S,
        "exp": not isinstance(expires, int | float) or expires + _LEEWAY_S < now,
        "events": not isinstance(events, dict) or LOGOUT not in events,
        "nonce": "nonce" in claims,
        "sub or sid": not (isinstance(subject, str) or isinstance(session, str)),
    }
    if name := next((name for name, bad in wrong.items() if bad), None):
        raise TokenError(f"the provider's logout token is not valid: {name}")
    return LoggedOut(subject if isinstance(subject, str) else None, session if isinstance(session, str) else None)


def _decode(token: str, keys: KeySet) -> tuple[dict[str, Any], Mapping[str, Any]]:
    try:
        found = jwt.decode(token, keys, algorithms=ALGORITHMS)
    except (JoseError, ValueError) as error:
        raise TokenError(f"the provider's token cannot be verified: {type(error).__name__}") from error
    return dict(found.claims), found.header


def _check_audience(claims: Mapping[str, Any], expected: Expected) -> None:
    audience = claims.get("aud")
    if expected.client_id not in (audience if isinstance(audience, list) else [audience]):
        raise TokenError("the provider's token is for another client")
