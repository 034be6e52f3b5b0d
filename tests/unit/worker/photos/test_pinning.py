"""Which addresses are public: the table that every guard against requests to the inside must get right; and pinning."""

from ipaddress import ip_address, ip_network

import pytest
from requests import Request

from worker.core.errors import FetchError
from worker.photos.pinning import PinningAdapter, PublicResolver, is_public


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.215.14", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "169.253.1.1",
     "2606:4700::1111", "2a00:1450:4001::1", "2003::1", "::ffff:1.1.1.1"],
)  # fmt: skip
def test_hosts_of_the_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - an address, and nothing is bound to it
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",  # Alibaba's metadata
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",  # AWS's, Google's and Azure's metadata
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.9",
        "192.0.0.192",  # Oracle's metadata
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",  # Azure's wire server
        "::",
        "::1",
        "::127.0.0.1",
        "::10.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:100.64.0.1",
        "::ffff:168.63.129.16",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:7f00:1::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",  # AWS's metadata
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_machines_networks_and_services_of_ours_are_not(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "spelling",
    ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0", "①②⑦.0.0.1", "::ffff:127.0.0.1", "localhost"],
)
def test_however_this_machine_is_spelt_it_is_recognised(spelling: str) -> None:
    with pytest.raises(FetchError, match=r"^address_not_allowed: .* is (127\.0\.0\.1|0\.0\.0\.0|::1|::ffff:)"):
        PublicResolver().pin(spelling, 443)


def test_an_excepted_network_is_no_more_than_that() -> None:
    addresses = PublicResolver([ip_network("127.0.0.0/31")])
    assert addresses.pin("127.0.0.1", 443) == ip_address("127.0.0.1")
    assert addresses.pin("::ffff:127.0.0.1", 443) == ip_address("::ffff:127.0.0.1")
    with pytest.raises(FetchError, match="address_not_allowed"):
        addresses.pin("127.0.0.2", 443)


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
    where, how = PinningAdapter(PublicResolver()).build_connection_pool_key_attributes(request, verify=True)
    assert where == {"scheme": "https", "host": host, "port": port}
    assert how["server_hostname"] == how["assert_hostname"] == host.strip("[]")
    assert request.url == url
    assert request.headers["Host"] == url.split("/")[2]


def test_an_address_that_the_settings_except_is_connected_to_and_no_other_private_one_is() -> None:
    adapter = PinningAdapter(PublicResolver([ip_network("10.0.0.0/8")]))
    where, how = adapter.build_connection_pool_key_attributes(
        Request("GET", "http://10.0.0.1/a").prepare(), verify=True
    )
    assert (ip_address(where["host"]), where["port"]) == (ip_address("10.0.0.1"), 80)
    assert "server_hostname" not in how
    with pytest.raises(FetchError, match="address_not_allowed"):
        adapter.build_connection_pool_key_attributes(Request("GET", "https://192.168.0.1/a").prepare(), verify=True)
