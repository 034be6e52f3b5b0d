"""A photo comes as its host has it, through its redirects, or with the reason of its status."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.photo_sites import PHOTO, Handler, Site, fetcher, refused

# By HTTP


def test_a_photo_comes_as_it_is(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    assert fetcher(site.host).fetch(url) == PHOTO
    ((path, headers),) = site.asked
    assert path == "/photo-0.jpg"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"] == "unmask"


def test_a_url_that_is_not_quoted_is_asked_for_all_the_same(site: Site) -> None:
    site.answers["/a%20b/%C3%BC.jpg?x=1"] = lambda handler: handler.answer(200, PHOTO)
    assert fetcher(site.host).fetch(f"http://{site.host}/a b/ü.jpg?x=1#here") == PHOTO


def test_a_photo_in_chunks_comes_whole(site: Site) -> None:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for byte in PHOTO:
            handler.wfile.write(b"1\r\n%c\r\n" % byte)
        handler.wfile.write(b"0\r\n\r\n")

    assert fetcher(site.host).fetch(site.url(answer)) == PHOTO


def test_neither_proxies_nor_netrc_of_the_machine_are_used(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    assert fetcher(site.host).fetch(url) == PHOTO
    assert "Authorization" not in site.asked[0][1]


def test_a_page_instead_of_a_photo_passes_for_the_decoder_to_judge(site: Site) -> None:
    page = b"<!doctype html><title>Not found</title>"
    url = site.url(lambda handler: handler.answer(200, page, Content_Type="text/html"))
    assert fetcher(site.host).fetch(url) == page


TARGETS = [
    "/a%3ab%7Ec%7e%2f%2F.jpg",
    "/a/./b/../c//d/.jpg",
    "//two/slashes.jpg",
    "/w:100,h:[200]|q/plain/s3://bucket/a.jpg",
    '/a.jpg?X-Amz-Signature=ab%2Fcd+ef==&x={y}^`"<>',
    "/a.jpg?",
    "/a.jpg??b=?c",
    "/100%/zz%zz.jpg",
    "/a;b=c;d/e.jpg",
    "/~ada/a'b*(c)!.jpg",
    "?only=query",
    "",
]


@pytest.mark.parametrize("target", TARGETS)
def test_what_stands_in_the_url_goes_on_the_wire_unchanged(site: Site, target: str) -> None:
    asked = target if target.startswith("/") else f"/{target}"
    site.answers[asked] = lambda handler: handler.answer(200, PHOTO)
    assert fetcher(site.host).fetch(f"http://{site.host}{target}#fragment") == PHOTO
    ((path, headers),) = site.asked
    assert path == asked
    assert headers["Host"] == site.host
    assert ":path" not in headers


@pytest.mark.parametrize("target", [target for target in TARGETS if target.startswith("/") and target[1] != "/"])
def test_what_stands_in_a_redirect_goes_on_the_wire_unchanged(site: Site, target: str) -> None:
    site.answers[target] = lambda handler: handler.answer(200, PHOTO)
    fetch = fetcher(site.host)
    for location in (target, f"http://{site.host}{target}", f"//{site.host}{target}"):
        assert fetch.fetch(site.url(redirect(location))) == PHOTO


NOT_YET, LATER, NEVER = "not yet", "later", "never"
STATUSES = {
    **dict.fromkeys(range(204, 600), ("http_status", NEVER)),
    **dict.fromkeys(range(500, 600), ("http_status", LATER)),
    201: ("http_status", NEVER),
    202: ("http_status", NOT_YET),
    203: ("http_status", NEVER),
    401: ("access_denied", NEVER),
    403: ("access_denied", NEVER),
    404: ("not_found", NOT_YET),
    408: ("http_status", LATER),
    410: ("not_found", NEVER),
    423: ("http_status", NOT_YET),
    425: ("http_status", NOT_YET),
    429: ("http_status", LATER),
    999: ("http_status", LATER),
}


def answering(status: int, **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(status, b"", **headers)


def test_every_status_but_200_is_a_reason_and_some_may_pass(site: Site) -> None:
    fetch, found = fetcher(site.host), {}
    for status in STATUSES:
        error = refused(fetch, site.url(answering(status)))
        assert error.detail.startswith(f"HTTP {status}")
        assert not (error.transient and error.not_yet)
        found[status] = (error.reason, LATER if error.transient else NOT_YET if error.not_yet else NEVER)
    assert found == STATUSES


def test_an_expired_signature_says_that_a_fresh_url_helps(site: Site) -> None:
    error = refused(fetcher(site.host), site.url(lambda handler: handler.answer(403)))
    assert "unmask enqueue --replace-url" in error.detail


def test_an_early_hint_is_no_photo_and_leaves_no_answer_to_the_next(site: Site) -> None:
    site.keeps = True

    def hint(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        handler.server.closing.wait(0.3)
        handler.answer(200, b"somebody else's photo")

    fetch = fetcher(site.host)
    assert refused(fetch, site.url(hint)).not_yet
    assert fetch.fetch(site.url(lambda handler: handler.answer(200, PHOTO))) == PHOTO


@pytest.mark.parametrize(("value", "expected_s"), [("7", 7.0), ("soon", None), ("-1", None), (None, None)])
def test_the_pause_that_a_host_asks_for_comes_with_the_reason(
    site: Site, value: str | None, expected_s: float | None
) -> None:
    headers = {"Retry_After": value} if value is not None else {}
    error = refused(fetcher(site.host), site.url(answering(503, **headers)))
    assert error.retry_after_s == expected_s


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_an_allowed_host_is_followed(site: Site, status: int) -> None:
    target = site.url(lambda handler: handler.answer(200, PHOTO))
    start = site.url(lambda handler: handler.answer(status, Location=target.removeprefix(f"http://{site.host}")))
    assert fetcher(site.host).fetch(start) == PHOTO
    assert [path for path, _ in site.asked] == ["/photo-1.jpg", "/photo-0.jpg"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://evil.example/a.jpg", "host_not_allowed"),
        ("//evil.example/a.jpg", "host_not_allowed"),
        ("http://127.0.0.1:1/a.jpg", "host_not_allowed"),
        ("http://169.254.169.254/latest/meta-data/", "host_not_allowed"),
        ("http://ada:s3cret@{host}/photo-0.jpg", "url_not_supported"),
        ("http://evil.example\\@{host}/photo-0.jpg", "url_not_supported"),
        ("file:///etc/passwd", "url_not_supported"),
        ("ftp://{host}/a.jpg", "url_not_supported"),
        ("http://inside.example/a.jpg", "address_not_allowed"),
    ],
)
def test_where_a_redirect_leads_is_checked_as_the_first_url_is(
    site: Site, names: Callable[..., list[str]], target: str, reason: str
) -> None:
    names("inside.example", ["10.0.0.1"])
    site.url(lambda handler: handler.answer(200, PHOTO))
    url = site.url(lambda handler: handler.answer(302, Location=target.format(host=site.host)))
    error = refused(fetcher(site.host, "inside.example"), url)
    assert (error.reason, error.transient) == (reason, False)
    assert len(site.asked) == 1


def redirect(target: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(302, Location=target)


def test_three_redirects_are_followed_and_no_more(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    for _ in range(3):
        url = site.url(redirect(url))
    assert fetcher(site.host).fetch(url) == PHOTO

    once_more = site.url(lambda handler: handler.answer(302, Location=url))
    assert refused(fetcher(site.host), once_more).reason == "too_many_redirects"


def test_a_redirect_in_a_circle_ends(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(302, Location=url))
    assert refused(fetcher(site.host), url).reason == "too_many_redirects"
    assert len(site.asked) == 4


def test_of_a_redirect_no_body_is_read_and_no_cookie_kept(site: Site) -> None:
    target = site.url(lambda handler: handler.answer(200, PHOTO))

    def endless(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Set-Cookie", "session=s3cret; Path=/")
        handler.end_headers()
        while not handler.server.closing.is_set():
            handler.wfile.write(bytes(1_000_000))

    assert fetcher(site.host).fetch(site.url(endless)) == PHOTO
    assert "Cookie" not in site.asked[1][1]


def test_a_redirect_without_a_target_is_no_photo(site: Site) -> None:
    assert refused(fetcher(site.host), site.url(lambda handler: handler.answer(302))).detail == "HTTP 302"
