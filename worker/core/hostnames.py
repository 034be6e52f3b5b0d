"""Names of hosts as settings give them."""

import re
from urllib.parse import urlsplit

#: Names in other scripts are written as they are asked for: xn--bcher-kva.example.
_NOT_IN_HOSTS = re.compile(r"[^\x21-\x7e]|[\\*@?]")

Host = tuple[str, int | None]


def parse_host(name: str) -> Host:
    """``host``, ``host:port`` or ``[address]:port``; raises ValueError for anything else, a wildcard for example."""
    parts = urlsplit(f"//{name}")
    if not parts.hostname or parts.netloc != name or parts.port == 0 or _NOT_IN_HOSTS.search(name):
        raise ValueError(f"{name!r} is not a host, like cdn.example.com or cdn.example.com:8443")
    return parts.hostname, parts.port
