"""Which hosts photos may come from: those that the settings name, by https unless http is allowed, and no others."""

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from worker.core.errors import FetchError
from worker.core.hostnames import parse_host

_DEFAULT_PORTS = {"https": 443, "http": 80}
#: What one parser of URLs skips and another takes for a part of the host.
_AMBIGUOUS = re.compile(r"[\\\x00-\x1f\x7f]")



class Hosts:
    """The allowed hosts: ``cdn.example.com`` on its scheme's own port, ``cdn.example.com:8443`` on another."""

    def __init__(self, names: Iterable[str], *, http: bool = False) -> None:
        self._names = tuple(names)
        self._allowed = frozenset(parse_host(name) for name in self._names)
        self._http = http

    def check(self, url: str) -> None:
        """Refuse a URL that does not lead to an allowed host; raises `FetchError` saying what is allowed."""
        parts = split(url)
        if parts.scheme not in _DEFAULT_PORTS:
            raise FetchError("url_not_supported", f"scheme {parts.scheme!r}: https, or http where it is allowed")
        self._check_host(parts)
        if parts.scheme == "http" and not self._http:
            raise FetchError("http_not_allowed", f"{parts.hostname} by http (allowed: https; see UNMASK_ALLOW_HTTP)")

    def _check_host(self, parts: SplitResult) -> None:
        host, port = parts.hostname or "", parts.port
        default = port in (None, _DEFAULT_PORTS[parts.scheme])
        if (host, port or _DEFAULT_PORTS[parts.scheme]) not in self._allowed and not (
            default and (host, None) in self._allowed
        ):
            shown = f"{host}:{port}" if port else host or "no host"
            allowed = ", ".join(sorted(self._names)) or "none; set UNMASK_ALLOWED_HOSTS"
            raise FetchError("host_not_allowed", f"{shown} (allowed: {allowed})")


def split(url: str) -> SplitResult:
    """A URL in its parts; raises `FetchError` when it is none, names a user, or can be read in two ways."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is not a number
    except ValueError as error:
        raise FetchError("url_not_supported", f"not a URL: {error}") from error
    if "@" in parts.netloc:
        raise FetchError("url_not_supported", "a URL with a user name")
    if parts.netloc and _AMBIGUOUS.search(url):
        raise FetchError("url_not_supported", "a URL with a backslash or a control character")
    return parts
