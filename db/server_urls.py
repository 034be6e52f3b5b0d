"""Checks the URLs of servers. They may hold a password, so no message here shows any part of one.

A password that is not percent-encoded makes libraries take a part of it for the host, the port or the database, and
show that part when they fail. Such a URL is refused before any library sees it.
"""

import re
from ipaddress import IPv6Address

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from db.hostnames import is_host_name

#: What to do about a URL that is refused.
ENCODE = (
    "percent-encode special characters of its password (@ is %40, : is %3A, / is %2F, ? is %3F, # is %23, % is %25) "
    "and write IPv6 addresses in brackets"
)
_PORTS = range(1, 65_536)
#: The schemes that people write, and the driver of each: ``postgresql://`` alone would ask for psycopg2.
_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
#: Options of a database's URL that may have any character.
_PASSWORDS = ("password", "sslpassword")


def parse_database_url(url: str) -> URL:
    """The URL with our driver; raises ValueError for one that cannot be used."""
    try:
        check_characters(url)
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # a ValueError quotes the port, which may be part of a password
        raise ValueError(
            "is not a database URL, like sqlite:///unmask.db or postgresql://user:password@host:5432/name: " + ENCODE
        ) from None
    if parsed.drivername not in _DRIVERS:
        raise ValueError(f"{parsed.drivername} is not supported: sqlite or postgresql")
    if "prepare_threshold" in parsed.query:
        raise ValueError("has prepare_threshold: set UNMASK_DB_POOLER=transaction instead")
    if parsed.get_backend_name() != "sqlite":
        options = "".join(f"{name}{value}" for name, value in parsed.query.items() if name not in _PASSWORDS)
        check_address(parsed.host or "", parsed.port, f"{parsed.database or ''}{options}")
    return parsed.set(drivername=_DRIVERS[parsed.drivername])


def check_database_url(url: str) -> str:
    """Check a database's URL, for settings; raises ValueError as `parse_database_url` does."""
    parse_database_url(url)
    return url


def check_characters(url: str) -> None:
    """Raises ValueError for white space or control characters, which no URL has."""
    if re.search(r"\s", url) or not url.isprintable():
        raise ValueError("has white space or control characters in it: a URL is one line without any")


def check_address(host: str, port: int | None, rest: str) -> None:
    """Raises ValueError unless this can be a server; ``rest`` is what follows it, which must hold no "@" or "#".

    An empty host is a library's default.
    """
    if (host and not _names_host(host)) or (port is not None and port not in _PORTS) or re.search(r"[@#]", rest):
        raise ValueError(f"has no host, port and name that can be read: {ENCODE}")


def _names_host(host: str) -> bool:
    if ":" not in host:
        return is_host_name(host)
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True
