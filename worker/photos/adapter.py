"""How `requests` connects here: to an address that was checked, under the name that was asked for, in time."""

from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests_hardened.ip_filter_adapter import IPFilterAdapter

from worker.photos.addresses import Addresses, Pinned
from worker.photos.deadline import TIMED_POOLS

_DEFAULT_PORTS = {"https": 443, "http": 80}


class PinningAdapter(IPFilterAdapter):  # type: ignore[misc]  # the library has no types
    """requests-hardened's adapter, with every answer of the resolver checked, by rules that leave nothing out.

    The library resolves a name itself and looks at its first answer only. Here it is shown the pinned address in the
    name's place, so that both must agree; an address that the settings except is no business of its own rules.
    """

    def __init__(self, addresses: Addresses, *, https: bool) -> None:
        self._addresses = addresses
        super().__init__(is_https_proto=https)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Connections that keep to a deadline."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = TIMED_POOLS

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: bool | str, cert: str | tuple[str, str] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Where to connect, and for which name the other side must have a certificate."""
        parts = urlsplit(request.url or "")
        host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]
        pinned = self._addresses.pin(host, port)
        where, how = self._attributes(request, pinned, verify, cert)
        request.headers["Host"] = parts.netloc
        names = {"assert_hostname": host, "server_hostname": host} if self._is_https_proto else {}
        return where | {"port": port}, how | names

    def _attributes(
        self, request: PreparedRequest, pinned: Pinned, verify: bool | str, cert: str | tuple[str, str] | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the library makes of the pinned address; what it makes of the name is one resolution too many."""
        asked = request.url
        literal = f"[{pinned.address}]" if pinned.address.version > 4 else str(pinned.address)  # noqa: PLR2004
        request.url = urlsplit(asked or "")._replace(netloc=literal).geturl()
        rules: Any = HTTPAdapter if pinned.excepted else IPFilterAdapter
        try:
            found: tuple[dict[str, Any], dict[str, Any]] = rules.build_connection_pool_key_attributes(
                self, request, verify, cert
            )
        finally:
            request.url = asked
        return found
