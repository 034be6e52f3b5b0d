"""What logs do not say: what stands behind a URL's "?", and who may use it.

A formatter, so that it sees whole lines as they are written: arguments, tracebacks, and what libraries log.
"""

import logging
import re

#: ``scheme://user:password@`` of any URL, and a query wherever one follows a path.
_USER = re.compile(r"(?<=://)[^\s/@'\"]+@")
_QUERY = re.compile(r"(?<=[\w/%.~+-])\?[^\s'\"<>)\]]*=[^\s'\"<>)\]]*")


class RedactingFormatter(logging.Formatter):
    """Formats a record, and takes secrets out of what comes of it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines, without queries and passwords."""
        return redacted(super().format(record))


def redacted(text: str) -> str:
    """Text without the user names, passwords and queries of the URLs in it."""
    return _QUERY.sub("?...", _USER.sub("***@", text))
