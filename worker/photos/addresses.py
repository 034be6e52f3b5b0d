"""Which addresses a host's name may lead to: public ones, and those that an operator excepts.

What counts is the address that is connected to, and never the spelling of the URL: the resolver takes ``2130706433``,
``0x7f.1`` and ``①②⑦.0.0.1`` for 127.0.0.1. So a name is resolved once, every answer is checked, and one is pinned.
"""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from worker.core.errors import FetchError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: The only IPv6 addresses that are handed out to the public (RFC 4291, IANA's registry).
_PUBLIC_V6 = IPv6Network("2000::/3")
#: Inside of what looks public, and is not; ``is_global`` knows only some of it, and less in older Pythons.
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


@dataclass(frozen=True, slots=True)
class Pinned:
    """The one address to connect to; ``excepted``: it is not public, and the settings allow it all the same."""

    address: Address
    excepted: bool


class Addresses:
    """Resolves names to addresses that may be asked."""

    def __init__(self, excepted: Iterable[Network] = ()) -> None:
        self._excepted = tuple(excepted)

    def pin(self, host: str, port: int) -> Pinned:
        """Resolve a name, once; raises `FetchError` when any of its addresses may not be asked."""
        addresses = _resolve(host, port)
        for address in addresses:
            if not is_public(address) and not self._is_excepted(address):
                raise FetchError("address_not_allowed", f"{host} is {address}, which is not public")
        return Pinned(addresses[0], not is_public(addresses[0]))

    def _is_excepted(self, address: Address) -> bool:
        return any(_plain(address) in network for network in self._excepted)


def is_public(address: Address) -> bool:
    """Whether this is some host of the internet, and no machine, network or service of ours."""
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
