"""One HTTP request and its answer, with limits. A refusal becomes an exception."""

from __future__ import annotations

import email.utils
import http.client
import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple

from unmask_client.errors import HttpConflictError, HttpError, UnreachableError

#: The longest answer in bytes; a batch of 1,000 has some 300 bytes a line.
_LONGEST = 16 << 20
_CONFLICT = 409
_KEY = re.compile("[\\x21-\\x7e]+")
#: The version is that of pyproject.toml.
USER_AGENT = "unmask-client/0.1.0 (Python)"
_PROBLEM = "application/problem+json"


class Reply(NamedTuple):
    """A successful answer: a status of 200 to 299, and the body."""

    status: int
    body: bytes


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirects: urllib would send the key to any host that a redirect names."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Return None, so that the answer becomes an error with its status."""


class Transport:
    """Sends requests to one server, with a key. Threads may share it, since it keeps no connection."""

    def __init__(self, base_url: str, key: str, timeout_s: float) -> None:
        self._base = _base(base_url)
        self._headers = {"Authorization": f"Bearer {_checked_key(key)}", "User-Agent": USER_AGENT}
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)

    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None, wait: int | None = None
    ) -> Reply:
        """Send a request and return its answer; raises `HttpError` for a refusal, `UnreachableError` without one."""
        prefer = {} if wait is None else {"Prefer": f"wait={_seconds(wait)}"}
        request = urllib.request.Request(  # noqa: S310 - http or https, as the base was checked
            self._base + path, data=body, headers={**self._headers, **headers, **prefer}, method=method
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s + (wait or 0)) as answer:
                return Reply(answer.status, _read(answer))
        except urllib.error.HTTPError as error:
            with error:
                raise _problem(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"{method} {self._base}{path}: {_why(error)}") from error


def parsed(body: bytes) -> dict[str, Any]:
    """Parse a JSON object; raises `UnreachableError` for any other body, which Unmask does not send."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnreachableError(f"the server's answer is not a JSON object: {body[:80]!r}")
    return found


def _base(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"base_url must be http://host or https://host, with a port or path if need be: {url[:80]!a}")
    if parts.username is not None:
        raise ValueError("base_url must be without a user and password: the key says who you are")
    return url.rstrip("/")


def _checked_key(key: str) -> str:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError("key must be the text that `unmask key add` printed, without spaces or line breaks")
    return key


def _seconds(wait: int) -> int:
    if isinstance(wait, bool) or not isinstance(wait, int) or wait < 0:
        raise ValueError(f"wait must be whole seconds, 0 or more: {ascii(wait)[:80]}")
    return wait


def _read(answer: Any) -> bytes:
    body: bytes = answer.read(_LONGEST + 1)
    if len(body) > _LONGEST:
        raise UnreachableError(f"the server's answer is longer than {_LONGEST} bytes")
    return body


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error) or type(error).__name__


def _problem(error: urllib.error.HTTPError) -> HttpError:
    said = _said(error)
    kind = HttpConflictError if error.code == _CONFLICT else HttpError
    title, detail = str(said.get("title") or error.reason), str(said.get("detail") or "")
    return kind(error.code, title, detail, _retry_after(error.headers.get("Retry-After")), said)


def _said(error: urllib.error.HTTPError) -> dict[str, Any]:
    """The problem document (RFC 9457); empty when a proxy answered instead of the server."""
    if error.headers.get_content_type() != _PROBLEM:
        return {}
    try:
        return parsed(_read(error))
    except (UnreachableError, OSError, http.client.HTTPException):
        return {}


def _retry_after(value: str | None) -> float | None:
    """Seconds from now; the header has seconds or a date."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    at = email.utils.parsedate_tz(value)
    return None if at is None else max(0.0, math.ceil(email.utils.mktime_tz(at) - time.time()))
