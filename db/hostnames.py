"""The hosts that photos may come from, by name, as settings give them."""

import re
from collections.abc import Iterable
from ipaddress import IPv6Address
from urllib.parse import urlsplit

#: The schemes of photos' URLs, and the port that each has by itself.
DEFAULT_PORTS = {"https": 443, "http": 80}
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
#: A host's name, without wildcards or a trailing dot; other scripts are written as xn--bcher-kva.example.
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")

Host = tuple[str, int | None]


def parse_host(name: str) -> Host:
    """Parse ``host``, ``host:port`` or ``[address]:port``; raises ValueError for anything else, such as a wildcard."""
    host, port = _split(name)
    if host is None or port == 0 or not (bool(IPv6Address(host)) if name.startswith("[") else is_host_name(host)):
        raise ValueError(
            f"{name!r} is not a host, like cdn.example.com or cdn.example.com:8443, without a dot at the end and with "
            "a comma before the next"
        )
    return host, port


def is_host_name(text: str) -> bool:
    """Whether the text can be a host's name or an IPv4 address."""
    return _HOST_NAME.fullmatch(text) is not None


def _split(name: str) -> tuple[str | None, int | None]:
    """The host and port; no host where they cannot be read."""
    try:
        parts = urlsplit(f"//{name}")
        port = parts.port
    except ValueError:
        return None, None
    return (parts.hostname if parts.netloc == name and "@" not in name else None), port


class HostAllowlist:
    """``cdn.example.com`` allows its scheme's own port, ``cdn.example.com:8443`` that port."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self._allowed = frozenset(parse_host(name) for name in self.names)

    def admits(self, scheme: str, host: str, port: int | None) -> bool:
        """Whether a photo may be fetched from there; ``scheme`` is https or http."""
        own = DEFAULT_PORTS[scheme]
        return (host, port or own) in self._allowed or (port in (None, own) and (host, None) in self._allowed)
