"""The meaning of an image host's HTTP status: whether and until when a worker tries again.

| status | reason | tried again |
|---|---|---|
| 200 | | |
| 202, 423, 425, 1xx | ``http_status`` | while the upload is fresh (`WorkerSettings.upload_grace_s`) |
| 404 | ``not_found`` | while the upload is fresh |
| 408, 429, 5xx | ``http_status`` | until the image is overdue |
| 401, 403 | ``access_denied`` | never: an expired signature needs a new URL |
| 410 | ``not_found`` | never |
| others | ``http_status`` | never |
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from worker.core.errors import FetchError

#: Statuses that a host may answer in the first minutes after an upload, while it copies or scans the file.
_NOT_YET = frozenset({HTTPStatus.ACCEPTED, HTTPStatus.NOT_FOUND, HTTPStatus.LOCKED, HTTPStatus.TOO_EARLY})
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
#: Ten digits are more than 300 years; Python refuses to read a number of thousands of digits.
_SECONDS = re.compile(r"[0-9]{1,10}")


def check_status(status: int, retry_after: str | None) -> None:
    """Raise the `FetchError` that this status means; return for 200. ``retry_after`` is the header of that name."""
    if status == HTTPStatus.OK:
        return
    raise FetchError(
        _reason(status),
        _detail(status),
        transient=status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        not_yet=status in _NOT_YET or status < HTTPStatus.OK,
        retry_after_s=retry_after_s(retry_after, datetime.now(UTC)),
    )


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or as a date (RFC 9110, 10.2.3); None for an invalid value."""
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if until.tzinfo is None:  # "-0000"
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())


def _reason(status: int) -> str:
    if status in _DENIED:
        return "access_denied"
    return "not_found" if status in _GONE else "http_status"


def _detail(status: int) -> str:
    if status in _DENIED:
        return f"HTTP {status}: if the URL's signature expired, give a new URL: unmask enqueue --replace-url"
    return f"HTTP {status}"
