"""Resolves a host's name once, refuses addresses that are not public, and connects to the one that was checked.

What counts is the address that is connected to, and never the spelling of the URL: the resolver takes ``2130706433``,
``0x7f.1`` and ``①②⑦.0.0.1`` for 127.0.0.1. So each name is resolved once, every answer is checked, and one is pinned.
"""

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest

from db.hostnames import DEFAULT_PORTS
from worker.core.errors import FetchError
from worker.photos.deadline import TimedAdapter

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: The only IPv6 addresses that are allocated to the public (RFC 4291, IANA's registry).
_PUBLIC_V6 = IPv6Network("2000::/3")
#: Networks that look public and are not; ``is_global`` knows only some of them, and fewer in older Pythons.
_SPECIAL = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's wire server, which answers every virtual machine
        "192.0.0.0/24",  # protocol assignments (RFC 6890)
        "192.88.99.0/24",  # relays to 6to4
        "2001::/23",  # Teredo, ORCHID and other protocols, some of which carry an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address
        "3fff::/20",  # documentation
    )
)


class PublicResolver:
    """Resolves names to public addresses, or to addresses in the networks that the settings except."""

    def __init__(self, excepted: Iterable[Network] = ()) -> None:
        self._excepted = tuple(excepted)

    def pin(self, host: str, port: int) -> Address:
        """The one address to connect to; raises `FetchError` when any address of the name is refused."""
        addresses = _resolve(host, port)
        for address in addresses:
            if not is_public(address) and not self._is_excepted(address):
                raise FetchError("address_not_allowed", f"{host} is {address}, which is not public")
        return addresses[0]

    def _is_excepted(self, address: Address) -> bool:
        return any(_plain(address) in network for network in self._excepted)


class PinningAdapter(TimedAdapter):
    """Connects `requests` to the pinned address; the certificate must be for the name that was asked for."""

    def __init__(self, resolver: PublicResolver) -> None:
        self._resolver = resolver
        super().__init__()

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: bool | str, cert: str | tuple[str, str] | None = None
    ) -> Any:
        """Where to connect, and for which name the other side must have a certificate; raises as `pin` does."""
        where, how = super().build_connection_pool_key_attributes(request, verify, cert)
        parts = urlsplit(request.url or "")
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
        address = self._resolver.pin(host, port)
        request.headers["Host"] = parts.netloc
        literal = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
        names = {"assert_hostname": host, "server_hostname": host} if parts.scheme == "https" else {}
        return {**where, "host": literal, "port": port}, {**how, **names}


def is_public(address: Address) -> bool:
    """Whether this is a host of the internet, and not a machine, network or service of ours."""
    plain = _plain(address)
    if any(plain in network for network in _SPECIAL):
        return False
    if isinstance(plain, IPv6Address):
        return plain in _PUBLIC_V6
    return plain.is_global and not plain.is_multicast


def _plain(address: Address) -> Address:
    """``::ffff:10.0.0.1`` reaches 10.0.0.1."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _resolve(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [ip_address(answer[4][0]) for answer in found]
    except (OSError, UnicodeError) as error:
        raise FetchError("name_not_resolved", f"{host}: {error}", transient=True) from error
