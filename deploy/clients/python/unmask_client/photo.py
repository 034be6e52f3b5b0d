"""A photo that an application submits. It is checked against the limits of the database before it is sent."""

from __future__ import annotations

import re
import uuid
from typing import NamedTuple

#: Characters in an image id, an account id or the name of a policy.
MAX_ID = 128
#: Characters in a URL.
MAX_URL = 4096
#: ``upload``: somebody waits for the verdict. ``backfill``: nobody waits.
LANES = ("upload", "backfill")

#: Control characters, line breaks, and lone surrogates, which no database stores.
_REFUSED = re.compile("[\\0-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
_SHOWN = 80


class Photo(NamedTuple):
    """One photo. The fields have the names of the columns, except ``image_id``."""

    image_id: str
    account_id: str
    url: str
    policy: str
    lane: str


def photo(*, account_id: str, url: str, image_id: str | None, policy: str, lane: str) -> Photo:
    """A checked photo, with a new id if it has none; raises ValueError with the field, its limit and value."""
    image_id = new_id() if image_id is None else image_id
    return Photo(
        check_text("image_id", image_id, MAX_ID),
        check_text("account_id", account_id, MAX_ID),
        check_text("url", url, MAX_URL),
        check_text("policy", policy, MAX_ID),
        check_lane(lane),
    )


def new_id() -> str:
    """A new, unique id."""
    return uuid.uuid4().hex


def check_text(name: str, value: object, limit: int) -> str:
    """Return text within its limit and without control characters; raises ValueError for any other value."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, not {type(value).__name__}")  # noqa: TRY004 - one error for a wrong value
    if not 1 <= len(value) <= limit:
        raise ValueError(f"{name} must have 1 to {limit} characters, and has {len(value)}: {value[:_SHOWN]!a}")
    if _REFUSED.search(value):
        raise ValueError(f"{name} must be without control characters: {value[:_SHOWN]!a}")
    return value


def check_lane(value: object) -> str:
    """Return one of the lanes; raises ValueError for any other value."""
    if value not in LANES:
        raise ValueError(f"lane must be one of {', '.join(LANES)}: {ascii(value)[:_SHOWN]}")
    return str(value)
