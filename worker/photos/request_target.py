"""Request targets that equal the photo's URL byte for byte.

Signed URLs (S3, CloudFront, imgproxy) sign the literal text: a client that writes ``%3a`` as ``%3A``, ``%7e`` as ``~``,
resolves dot segments or escapes ``[ ] |`` breaks the signature. `requests` and urllib3 do all of these, so the target
bypasses them (https://github.com/imgproxy/imgproxy/issues/976).
"""

import re
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from urllib3.connection import HTTPConnection

#: Carries the target from the prepared request to the connection. HTTP/1.1 does not allow this header name, so
#: http.client refuses to send the header if the connection did not remove it.
TARGET_HEADER = ":path"

_AFTER_HOST = re.compile(r"//[^/?#]*([^#]*)")
_ORIGIN = re.compile(r"[^/?#]*//[^/?#]*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
#: The characters that a target may have: printable ASCII without the space, which ends the target.
_LITERAL = "".join(map(chr, range(0x21, 0x7F)))


def exact_target(url: str) -> str:
    """The unchanged path and query of a URL; only characters that a request line cannot carry are escaped."""
    found = _AFTER_HOST.search(url)
    rest = found[1] if found is not None else ""
    return quote(rest if rest.startswith("/") else f"/{rest}", safe=_LITERAL)


def redirect_url(url: str, location: str) -> str:
    """The URL to which ``url`` redirects; the path and query in ``location`` stay unchanged.

    http.client reads headers as Latin-1; bytes beyond ASCII are escaped one by one. Raises ValueError for a bad URL.
    """
    found = _joined(url, quote(location.encode("latin-1"), safe=_LITERAL))
    urlsplit(found)
    return found


def _joined(url: str, location: str) -> str:
    if location.startswith("//"):
        return f"{url.partition(':')[0]}:{location}"
    if _SCHEME.match(location):
        return location
    origin = _ORIGIN.match(url)
    if location.startswith("/") and origin is not None:
        return origin[0] + location
    return urljoin(url, location)


class ExactTargetConnection(HTTPConnection):
    """A connection that writes the value of `TARGET_HEADER` into the request line, and does not send the header."""

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        """Send a request as urllib3 does, but for the unchanged target."""
        sent = dict(headers or {})
        super().request(method, sent.pop(TARGET_HEADER, url), body, sent, **options)
