"""Authentication by API key: as a bearer token, or as the password of basic authentication (for keys in URLs)."""

import base64
import math
import time
from collections.abc import Callable

from starlette.requests import Request

from db.access import api_keys
from db.access.api_keys import Caller
from db.api.http.problems import ProblemError
from db.store.session import Database

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="unmask"'}
_MINUTE_S = 60.0


class RateLimits:
    """Limits requests per minute and key in this process, with one token bucket per key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[int, tuple[float, float]] = {}

    def take(self, caller: Caller, cost: int = 1) -> None:
        """Count ``cost`` requests; raises `ProblemError` 429 on an empty bucket. One call may overdraw the bucket."""
        rate = caller.rate_per_minute
        if rate is None:
            return
        now = self._clock()
        left, then = self._buckets.get(caller.key_id, (float(rate), now))
        left = min(rate, left + (now - then) * rate / _MINUTE_S)
        if left < 1:
            wait_s = math.ceil((1 - left) * _MINUTE_S / rate)
            detail = f"key {caller.name} may send {rate} requests a minute: try again in {wait_s} s"
            raise ProblemError(429, "too_many_requests", detail, "rate_per_minute", rate, wait_s)
        self._buckets[caller.key_id] = (left - cost, now)


def authenticate(database: Database, request: Request, scopes: tuple[str, ...]) -> Caller:
    """The caller whose key the request carries; raises `ProblemError`: 401 without a valid key, 403 without a scope."""
    key = _key_of(request.headers.get("authorization", ""))
    if key is None:
        raise ProblemError(
            401, "no_key", "the request has no key: send Authorization: Bearer unmask_...", headers=_CHALLENGE
        )
    with database.reading() as session:
        caller = api_keys.find(session, key)
    if caller is None:
        raise ProblemError(401, "unknown_key", "the key is unknown or revoked: use another one", headers=_CHALLENGE)
    missing = [scope for scope in scopes if scope not in caller.scopes]
    if missing:
        raise ProblemError(403, "scope_missing", f"key {caller.name} lacks the scope {', '.join(missing)}")
    return caller


def _key_of(header: str) -> str | None:
    kind, _, value = header.strip().partition(" ")
    if kind.lower() == "bearer":
        return value.strip() or None
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).decode("ascii").partition(":")[2] or None
    except ValueError:
        return None
