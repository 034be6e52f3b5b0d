"""What is connected to is what was checked, and the library that we build on has its say as well."""

from ipaddress import ip_address, ip_network

import pytest
from requests import Request
from requests_hardened.ip_filter import InvalidIPAddress

from worker.photos import addresses
from worker.photos.adapter import PinningAdapter
from worker.photos.addresses import Addresses


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://1.1.1.1/a.jpg?x=1", "1.1.1.1", 443),
        ("https://1.1.1.1:8443/a.jpg", "1.1.1.1", 8443),
        ("https://[2606:4700::1111]/a.jpg", "[2606:4700::1111]", 443),
    ],
)
def test_an_address_is_pinned_and_the_request_stays_as_it_was(url: str, host: str, port: int) -> None:
    request = Request("GET", url).prepare()
    where, how = PinningAdapter(Addresses(), https=True).build_connection_pool_key_attributes(request, verify=True)
    assert where == {"scheme": "https", "host": host, "port": port}
    assert how["server_hostname"] == how["assert_hostname"] == host.strip("[]")
    assert request.url == url
    assert request.headers["Host"] == url.split("/")[2]


def test_an_address_that_only_the_library_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "is_public", lambda _address: True)
    request = Request("GET", "https://10.0.0.1/a.jpg").prepare()
    with pytest.raises(InvalidIPAddress):
        PinningAdapter(Addresses(), https=True).build_connection_pool_key_attributes(request, verify=True)


def test_what_the_settings_except_is_no_business_of_the_library() -> None:
    request = Request("GET", "https://10.0.0.1/a.jpg").prepare()
    adapter = PinningAdapter(Addresses([ip_network("10.0.0.0/8")]), https=True)
    where, _ = adapter.build_connection_pool_key_attributes(request, verify=True)
    assert ip_address(where["host"]) == ip_address("10.0.0.1")
