"""Which hosts are allowed, and how an operator names them."""

import pytest

from db.errors import SettingsError
from db.hostnames import parse_host
from worker.core.errors import FetchError
from worker.core.settings import FetchSettings
from worker.photos.allowlist import AllowedHosts


@pytest.mark.parametrize(
    ("names", "http", "url"),
    [
        (["cdn.example.com"], False, "https://cdn.example.com/a.jpg"),
        (["cdn.example.com"], False, "https://CDN.example.com:443/a.jpg"),
        (["CDN.example.com"], True, "http://cdn.example.com/a.jpg"),
        (["cdn.example.com:8443"], False, "https://cdn.example.com:8443/a.jpg"),
        (["cdn.example.com:443"], False, "https://cdn.example.com/a.jpg"),
        (["cdn.example.com:9000"], True, "http://cdn.example.com:9000/a.jpg"),
        (["[2606:4700::1111]:8443"], False, "https://[2606:4700::1111]:8443/a.jpg"),
    ],
)
def test_an_allowed_host_passes(names: list[str], url: str, *, http: bool) -> None:
    AllowedHosts(names, http=http).check(url)


@pytest.mark.parametrize(
    ("names", "http", "url", "reason"),
    [
        ([], True, "https://cdn.example.com/a.jpg", "host_not_allowed"),
        (["cdn.example.com"], True, "https://cdn.example.com:8443/a.jpg", "host_not_allowed"),
        (["cdn.example.com"], True, "https://cdn.example.com:80/a.jpg", "host_not_allowed"),
        (["cdn.example.com:8443"], True, "https://cdn.example.com/a.jpg", "host_not_allowed"),
        (["cdn.example.com"], True, "https://cdn.example.com./a.jpg", "host_not_allowed"),
        (["cdn.example.com"], True, "https://a.cdn.example.com/a.jpg", "host_not_allowed"),
        (["cdn.example.com"], True, "https://cdn.example.com.evil.example/a.jpg", "host_not_allowed"),
        (["cdn.example.com"], False, "http://cdn.example.com/a.jpg", "http_not_allowed"),
        (["cdn.example.com:9000"], False, "http://cdn.example.com:9000/a.jpg", "http_not_allowed"),
        (["cdn.example.com"], True, "ftp://cdn.example.com/a.jpg", "url_not_supported"),
    ],
)
def test_any_other_is_refused(names: list[str], url: str, reason: str, *, http: bool) -> None:
    with pytest.raises(FetchError, match=f"^{reason}: "):
        AllowedHosts(names, http=http).check(url)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "*",
        "*.example.com",
        "https://a.example",
        "a.example/x",
        "a.example:0",
        "a b",
        "ada@a.example",
        "a.example;b.example",
        "a.example.",
        "a..example",
        "a.example:http",
        "a.example:99999",
        "a.example?",
        "[::1",
        ":80",
        "bücher.example",
        "①②⑦.0.0.1",
    ],
)
def test_what_names_no_host_is_refused_when_the_settings_are_read(name: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_host(name)
    if name:
        with pytest.raises(SettingsError, match=r"^UNMASK_ALLOWED_HOSTS: "):
            FetchSettings.load({"UNMASK_ALLOWED_HOSTS": f"cdn.example.com,{name}"})


@pytest.mark.parametrize(
    ("key", "value"),
    [("ALLOW_PRIVATE_ADDRESSES", "10.0.0.0/8, everything"), ("ALLOW_PRIVATE_ADDRESSES", "10.0.0.1/8"),
     ("ALLOW_HTTP", "maybe"), ("CA_BUNDLE", "/no/such/file.pem")],
)  # fmt: skip
def test_nonsense_about_hosts_is_refused_by_the_name_of_its_key(key: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^UNMASK_{key}"):
        FetchSettings.load({f"UNMASK_{key}": value})
