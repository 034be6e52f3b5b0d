"""The hosts that photos may come from: those that the settings name, by https unless http is allowed."""

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from db.hostnames import DEFAULT_PORTS, HostAllowlist
from worker.core.errors import FetchError

#: Characters that one URL parser skips and another takes for a part of the host.
_AMBIGUOUS = re.compile(r"[\\\x00-\x1f\x7f]")


class AllowedHosts:
    """The allowlist: ``cdn.example.com`` allows its scheme's own port, ``cdn.example.com:8443`` that port."""

    def __init__(self, names: Iterable[str], *, http: bool = False) -> None:
        self._allowed = HostAllowlist(names)
        self._http = http

    def check(self, url: str) -> None:
        """Refuse a URL that does not lead to an allowed host; raises `FetchError` saying what is allowed."""
        parts = split_url(url)
        if parts.scheme not in DEFAULT_PORTS:
            raise FetchError("url_not_supported", f"scheme {parts.scheme!r}: https, or http where it is allowed")
        self._check_host(parts)
        if parts.scheme == "http" and not self._http:
            raise FetchError("http_not_allowed", f"{parts.hostname} by http (allowed: https; see UNMASK_ALLOW_HTTP)")

    def _check_host(self, parts: SplitResult) -> None:
        host, port = parts.hostname or "", parts.port
        if not self._allowed.admits(parts.scheme, host, port):
            shown = f"{host}:{port}" if port else host or "no host"
            allowed = ", ".join(sorted(self._allowed.names)) or "none; set UNMASK_ALLOWED_HOSTS"
            raise FetchError("host_not_allowed", f"{shown} (allowed: {allowed})")


def split_url(url: str) -> SplitResult:
    """Split a URL; raises `FetchError` when it is not a URL, names a user, or can be read in two ways."""
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
