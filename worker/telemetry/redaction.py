"""What logs do not say: what stands behind a URL's "?", and who may use it.

Applied to whole events, after their arguments and tracebacks are in, and so also to what libraries log.
"""

import re

from structlog.typing import EventDict, WrappedLogger

#: ``scheme://user:password@`` of any URL, and a query wherever one follows a path.
_USER = re.compile(r"(?<=://)[^\s/@'\"]+@")
_QUERY = re.compile(r"(?<=[\w/%.~+-])\?[^\s'\"<>)\]]*=[^\s'\"<>)\]]*")


def redacted(text: str) -> str:
    """Text without the user names, passwords and queries of the URLs in it."""
    return _QUERY.sub("?...", _USER.sub("***@", text))


def redact(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """A structlog processor: the event without them. Before it becomes JSON, whose quotes would be taken with them."""
    return {key: value if _mute(value) else redacted(str(value)) for key, value in event.items()}


def _mute(value: object) -> bool:
    return value is None or isinstance(value, int | float)
