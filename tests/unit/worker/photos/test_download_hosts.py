"""Photos come from allowed hosts at allowed addresses, under certificates that hold."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.photo_sites import PATIENCE_S, PHOTO, Drip, Site, fetcher, refused, serving

# From which hosts


def test_without_allowed_hosts_none_is_allowed_and_the_reason_says_what_to_set(site: Site) -> None:
    error = refused(fetcher(), site.url(lambda handler: handler.answer(200, PHOTO)))
    assert (error.reason, error.transient) == ("host_not_allowed", False)
    assert f"{site.host} (allowed: none; set UNMASK_ALLOWED_HOSTS)" in error.detail
    assert site.asked == []


def test_a_host_is_allowed_on_the_port_that_was_named(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    assert fetcher("cdn.example.com", site.host).fetch(url) == PHOTO
    error = refused(fetcher("cdn.example.com", "127.0.0.1"), url)
    assert error.reason == "host_not_allowed"
    assert len(site.asked) == 1


def test_http_is_not_spoken_unless_it_is_allowed(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    error = refused(fetcher(site.host, allow_http=False), url)
    assert (error.reason, error.transient) == ("http_not_allowed", False)
    assert "UNMASK_ALLOW_HTTP" in error.detail
    assert site.asked == []


def test_the_case_of_hosts_and_schemes_does_not_matter(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO)).replace("http://127.0.0.1", "HTTP://LocalHost")
    assert fetcher(f"LOCALHOST:{site.server_port}").fetch(url) == PHOTO


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/a.jpg",
        "http://{ip}.evil.example:{port}/a.jpg",
        "http://evil.example#{host}/a.jpg",
        "http://evil.example?{host}/a.jpg",
        "http://evil.example/{host}/a.jpg",
        "http://{ip}:1/a.jpg",
        "http://{ip}/a.jpg",
        "https://{ip}/a.jpg",
        "http://2130706433:{port}/a.jpg",
        "http://0x7f.1:{port}/a.jpg",
        "http://[::ffff:{ip}]:{port}/a.jpg",
    ],
)
def test_whatever_is_not_an_allowed_host_is_not_asked(site: Site, url: str) -> None:
    url = url.format(host=site.host, ip="127.0.0.1", port=site.server_port)
    assert refused(fetcher(site.host), url).reason == "host_not_allowed"
    assert site.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://ada@{host}/a.jpg",
        "http://ada:s3cret@{host}/a.jpg",
        "http://@{host}/a.jpg",
        "http://evil.example\\@{host}/a.jpg",
        "http://evil.example:80@{host}/a.jpg",
        "ftp://{host}/a.jpg",
        "gopher://{host}/a.jpg",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "//{host}/a.jpg",
        "file://{host}/photo.jpg",
        "file://localhost/photo.jpg",
        "http://{host}x/a.jpg",
        "http://①②⑦.0.0.1/a.jpg",
        "http:///a.jpg",
        "http:a.jpg",
        "http://",
        "http://evil.example\\{host}/a.jpg",
        "http://{host}/a\r\nX: y",
        "http://{host}\t/a.jpg",
        "http://[::1/a.jpg",
        "http://{host}:80:80/a.jpg",
    ],
)
def test_other_schemes_user_names_and_nonsense_are_no_photos_url(site: Site, tmp_path: Path, url: str) -> None:
    error = refused(fetcher(site.host, "evil.example", media_root=tmp_path), url.format(host=site.host))
    assert (error.reason, error.transient) == ("url_not_supported", False)
    assert "s3cret" not in str(error)
    assert site.asked == []


# At which addresses


def test_a_private_address_is_not_asked_unless_it_is_excepted(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    error = refused(fetcher(site.host, allow_private_addresses=()), url)
    assert (error.reason, error.transient) == ("address_not_allowed", False)
    assert refused(fetcher(site.host, allow_private_addresses=(ip_network("10.0.0.0/8"),)), url).reason == error.reason
    assert site.asked == []


@pytest.mark.parametrize("answers", [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["127.0.0.1", "fe80::1"]])
def test_one_bad_address_among_good_ones_is_enough(
    site: Site, names: Callable[..., list[str]], answers: list[str]
) -> None:
    names("cdn.example.com", answers)
    url = site.url(lambda handler: handler.answer(200, PHOTO)).replace("127.0.0.1", "cdn.example.com")
    error = refused(fetcher(f"cdn.example.com:{site.server_port}"), url)
    assert error.reason == "address_not_allowed"
    assert site.asked == []


def test_a_name_that_leads_elsewhere_a_moment_later_is_resolved_only_once(
    site: Site, names: Callable[..., list[str]]
) -> None:
    asked = names("cdn.example.com", ["127.0.0.1"], ["10.0.0.1"])
    url = site.url(lambda handler: handler.answer(200, PHOTO)).replace("127.0.0.1", "cdn.example.com")
    assert fetcher(f"cdn.example.com:{site.server_port}").fetch(url) == PHOTO
    assert asked == ["cdn.example.com"]
    assert site.asked[0][1]["Host"] == f"cdn.example.com:{site.server_port}"


def test_a_name_that_leads_elsewhere_at_the_second_hop_is_checked_again(
    site: Site, names: Callable[..., list[str]]
) -> None:
    names("cdn.example.com", ["127.0.0.1"], ["10.0.0.1"])
    url = site.url(lambda handler: handler.answer(302, Location="/photo-0.jpg"))
    error = refused(fetcher(f"cdn.example.com:{site.server_port}"), url.replace("127.0.0.1", "cdn.example.com"))
    assert error.reason == "address_not_allowed"
    assert len(site.asked) == 1


def test_a_name_that_cannot_be_resolved_may_be_better_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    error = refused(fetcher("cdn.example.com"), "https://cdn.example.com/a.jpg")
    assert (error.reason, error.transient) == ("name_not_resolved", True)


# By TLS


class SecureSite(Site):
    """A web site with a certificate for ``photos.example``, which notes the name it is asked for."""

    def __init__(self, authority: trustme.CA, name: str = "photos.example") -> None:
        super().__init__()
        self.scheme = "https"
        self.host = f"photos.example:{self.server_port}"
        self.named: list[str | None] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        context.sni_callback = lambda _socket, named, _context: self.named.append(named)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    """A file with a certificate authority of our own."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


def test_a_photo_comes_by_tls_under_the_name_that_was_asked_for(
    authority: trustme.CA, bundle: Path, names: Callable[..., list[str]]
) -> None:
    asked = names("photos.example", ["127.0.0.1"], ["10.0.0.1"])
    with serving(SecureSite(authority)) as site:
        assert isinstance(site, SecureSite)
        url = site.url(lambda handler: handler.answer(200, PHOTO))
        assert fetcher(site.host, ca_bundle=bundle, allow_http=False).fetch(url) == PHOTO
        assert site.named == ["photos.example"]
        assert site.asked[0][1]["Host"] == site.host
    assert asked == ["photos.example"]


@pytest.mark.parametrize(("name", "trusted"), [("evil.example", True), ("127.0.0.1", True), ("photos.example", False)])
def test_a_certificate_for_another_name_or_of_a_stranger_is_not_believed(
    authority: trustme.CA, bundle: Path, names: Callable[..., list[str]], name: str, *, trusted: bool
) -> None:
    names("photos.example", ["127.0.0.1"])
    with serving(SecureSite(authority, name)) as site:
        url = site.url(lambda handler: handler.answer(200, PHOTO))
        error = refused(fetcher(site.host, ca_bundle=bundle if trusted else None), url)
        assert (error.reason, error.detail) == ("connection", "SSLError")
        assert site.asked == []


def test_a_redirect_from_https_to_http_is_refused_where_http_is(
    authority: trustme.CA, bundle: Path, names: Callable[..., list[str]], site: Site
) -> None:
    names("photos.example", ["127.0.0.1"])
    target = site.url(lambda handler: handler.answer(200, PHOTO))
    with serving(SecureSite(authority)) as secure:
        url = secure.url(lambda handler: handler.answer(302, Location=target))
        fetch = fetcher(secure.host, site.host, ca_bundle=bundle, allow_http=False)
        assert refused(fetch, url).reason == "http_not_allowed"
    assert site.asked == []


def test_a_download_by_tls_ends_at_its_deadline_too(
    authority: trustme.CA, bundle: Path, names: Callable[..., list[str]]
) -> None:
    names("photos.example", ["127.0.0.1"])
    with serving(SecureSite(authority)) as site:
        url = site.url(Drip("the headers", b"HTTP/1.1 200 OK\r\n", b"a"))
        assert refused(fetcher(site.host, ca_bundle=bundle, timeout_s=2), url).reason == "timeout"


def test_a_handshake_that_drips_ends_at_the_deadline(names: Callable[..., list[str]]) -> None:
    names("photos.example", ["127.0.0.1"])
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"\x16\x03\x03\x40\x00")  # the head of a record of 16 KB
                while not done.wait(0.02):
                    connection.sendall(b"\2")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        host = f"photos.example:{server.getsockname()[1]}"
        start = time.monotonic()
        error = refused(fetcher(host, timeout_s=0.5), f"https://{host}/a.jpg")
        took_s = time.monotonic() - start
        done.set()
        thread.join()
    assert (error.reason, error.transient) == ("timeout", True)
    assert took_s < PATIENCE_S / 2
