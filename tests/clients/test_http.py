"""`HttpClient` asks as the interface says, and whatever it hears back ends in a value or a named error."""

import email.utils
import json
import socket
import time
from collections.abc import Callable, Iterator
from email.parser import BytesParser
from typing import Any

import pytest
from unmask_client import ConflictError, HttpClient, HttpError, UnmaskError, UnreachableError

from tests.clients.peer import Answer, Peer, listening, pending

KEY = "unmask_k3y"
PROBLEM = {"Content-Type": "application/problem+json"}
PENDING = Answer(202, b'{"image_id": "i-1", "state": "pending"}')


@pytest.fixture
def peer() -> Iterator[Peer]:
    with listening() as peer:
        yield peer


@pytest.fixture
def client(peer: Peer) -> HttpClient:
    return HttpClient(f"{peer.url}/", KEY, timeout=10)


def problem(status: int, detail: str = "", **headers: str) -> Answer:
    said = {"type": "about:blank", "title": "No", "status": status, "detail": detail}
    return Answer(status, json.dumps(said).encode(), PROBLEM | {n.replace("_", "-"): v for n, v in headers.items()})


def test_a_url_is_enqueued_as_json_with_the_key(client: HttpClient, peer: Peer) -> None:
    peer.answers = [PENDING]
    assert client.enqueue(account_id="ada", url="https://cdn.example.com/é.jpg", image_id="i-1") == "i-1"
    [asked] = peer.asked
    assert (asked.method, asked.path) == ("POST", "/v1/images")
    assert (asked.headers["authorization"], asked.headers["content-type"]) == (f"Bearer {KEY}", "application/json")
    assert "prefer" not in asked.headers
    assert json.loads(asked.body) == {
        "account_id": "ada",
        "url": "https://cdn.example.com/é.jpg",
        "image_id": "i-1",
        "lane": "upload",
    }


def test_a_photo_gets_its_id_before_it_is_sent_so_that_trying_again_is_safe(client: HttpClient, peer: Peer) -> None:
    peer.answers = [Answer(202, pending)]
    image_id = client.enqueue(account_id="ada", url="a.jpg")
    assert len(image_id) == 32
    assert json.loads(peer.asked[0].body)["image_id"] == image_id


def test_an_answer_about_another_image_is_none(client: HttpClient, peer: Peer) -> None:
    peer.answers = [PENDING]
    with pytest.raises(UnreachableError, match="not about image 'i-2'"):
        client.enqueue(account_id="ada", url="a.jpg", image_id="i-2")


def test_bytes_are_enqueued_as_a_form(client: HttpClient, peer: Peer, photo_bytes: bytes) -> None:
    peer.answers = [PENDING]
    assert client.enqueue_photo(photo_bytes, account_id="ada", image_id="i-1", policy="vip", lane="backfill") == "i-1"
    [asked] = peer.asked
    head = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
    parts = [part for part in BytesParser().parsebytes(head + asked.body).walk() if not part.is_multipart()]
    found = {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts}
    assert found == {
        "account_id": b"ada",
        "image_id": b"i-1",
        "policy": b"vip",
        "lane": b"backfill",
        "photo": photo_bytes,
    }


@pytest.fixture
def photo_bytes() -> bytes:
    """Bytes of every value, and some that look like the end of a part."""
    return bytes(range(256)) * 3 + b"\r\n--\r\n"


def test_with_wait_there_is_a_verdict(client: HttpClient, peer: Peer) -> None:
    verdict = {"image_id": "i-1", "state": "scored", "score": 0.9, "flagged": True}
    peer.answers = [Answer(200, json.dumps(verdict).encode()), PENDING]
    assert client.enqueue(account_id="ada", url="a.jpg", image_id="i-1", wait=5) == verdict
    assert client.enqueue_photo(b"jpeg", account_id="ada", image_id="i-1", wait=5) == {
        "image_id": "i-1",
        "state": "pending",
    }
    assert [asked.headers["prefer"] for asked in peer.asked] == ["wait=5", "wait=5"]


def test_a_result_is_read_by_its_id_whatever_it_looks_like(client: HttpClient, peer: Peer) -> None:
    peer.answers = [Answer(200, b'{"image_id": "a/b?c", "state": "pending"}'), problem(404)]
    assert client.result("a/b?c%é") == {"image_id": "a/b?c", "state": "pending"}
    assert client.result("unheard-of") is None
    assert peer.asked[0].path == "/v1/images/a%2Fb%3Fc%25%C3%A9"


def test_a_photo_is_taken_back(client: HttpClient, peer: Peer) -> None:
    peer.answers = [Answer(204, b""), problem(404)]
    assert client.delete("i-1")
    assert not client.delete("unheard-of")
    assert [asked.method for asked in peer.asked] == ["DELETE", "DELETE"]


def test_a_batch_goes_in_thousands_and_each_photo_has_its_own_fate(client: HttpClient, peer: Peer) -> None:
    fates: list[dict[str, object]] = [{"image_id": f"i-{n}", "state": "pending"} for n in range(1001)]
    fates[7] = {"line": 8, "status": 409, "problem": {"title": "Conflict"}}
    lines = [json.dumps(fate).encode() + b"\n" for fate in fates]
    peer.answers = [Answer(200, b"".join(lines[:1000])), Answer(200, b"".join(lines[1000:]))]
    photos = ({"account_id": "ada", "url": f"{n}.jpg", "image_id": f"i-{n}"} for n in range(1001))
    assert list(client.batch(photos)) == fates
    assert [asked.body.count(b"\n") for asked in peer.asked] == [1000, 1]
    assert (peer.asked[0].path, peer.asked[0].headers["content-type"]) == ("/v1/images:batch", "application/x-ndjson")


def test_a_refusal_has_its_status_title_detail_and_when_to_try_again(client: HttpClient, peer: Peer) -> None:
    at = email.utils.formatdate(time.time() + 60, usegmt=True)
    peer.answers = [
        problem(429, "the key may send 60 requests a minute", Retry_After="7"),
        problem(503, Retry_After=at),
        problem(413, "a photo has at most 20000000 bytes, and this one 20000001"),
    ]
    errors = [refused(client) for _ in range(3)]
    assert [(error.status, error.title) for error in errors] == [(429, "No"), (503, "No"), (413, "No")]
    assert errors[0].retry_after == 7.0
    assert 50 < (errors[1].retry_after or 0) <= 60
    assert errors[2].retry_after is None
    assert str(errors[2]) == "HTTP 413 No: a photo has at most 20000000 bytes, and this one 20000001"
    assert errors[2].problem["type"] == "about:blank"


def refused(client: HttpClient) -> HttpError:
    with pytest.raises(HttpError) as caught:
        client.enqueue(account_id="ada", url="a.jpg")
    return caught.value


def test_a_conflict_is_the_same_error_as_in_the_database(client: HttpClient, peer: Peer) -> None:
    peer.answers = [problem(409, "image 'i-1' is known with another url")]
    with pytest.raises(ConflictError, match="another url") as caught:
        client.enqueue(account_id="ada", url="a.jpg")
    assert isinstance(caught.value, HttpError)


def test_what_a_proxy_says_is_no_verdict_and_no_unknown_photo(client: HttpClient, peer: Peer) -> None:
    page = {"Content-Type": "text/html"}
    peer.answers = [Answer(502, b"<html>", page), Answer(404, b"<html>", page), Answer(200, b"<html>", page)]
    assert refused(client).title == "Bad Gateway"
    with pytest.raises(HttpError, match="HTTP 404 Not Found"):
        client.result("i-1")
    with pytest.raises(UnreachableError, match="not a JSON object"):
        client.result("i-1")


def test_the_key_goes_nowhere_else(client: HttpClient, peer: Peer) -> None:
    with listening() as other:
        peer.answers = [Answer(307, b"", {"Location": f"{other.url}/v1/images"}) for _ in range(2)]
        assert refused(client).status == 307
        with pytest.raises(HttpError, match="307"):
            client.result("i-1")
        assert other.asked == []


ANSWERS_OF_NO_USE = [
    (Answer(200, b"[]"), "not a JSON object"),
    (Answer(200, b"{" * (17 << 20)), "longer than 16777216 bytes"),
    (Answer(delay_s=30), "timed out"),
]


@pytest.mark.parametrize(("answer", "message"), ANSWERS_OF_NO_USE, ids=["array", "long", "late"])
def test_an_answer_of_no_use_is_an_error_of_one_line(peer: Peer, answer: Answer, message: str) -> None:
    peer.answers = [answer]
    with pytest.raises(UnreachableError, match=message) as caught:
        HttpClient(peer.url, KEY, timeout=0.2 if answer.delay_s else 10).result("i-1")
    assert isinstance(caught.value, UnmaskError)
    assert len(str(caught.value)) < 200
    assert KEY not in str(caught.value)


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(UnreachableError, match=f"GET {url}/v1/images/i-1: .*refused"):
            HttpClient(url, KEY).result("i-1")


def test_a_batch_that_is_answered_in_part_is_an_error(client: HttpClient, peer: Peer) -> None:
    peer.answers = [Answer(200, b'{"image_id": "a", "state": "pending"}\n')]
    with pytest.raises(UnreachableError, match="answered 1 photos of a batch of 2"):
        list(client.batch([{"account_id": "ada", "url": "a.jpg"}] * 2))


WRONG: list[tuple[Callable[[HttpClient], Any], str]] = [
    (lambda _: HttpClient("ftp://example.com", KEY), "base_url must be http://host or https://host"),
    (lambda _: HttpClient("example.com", KEY), "base_url must be http://host"),
    (lambda _: HttpClient("https://example.com?a=b", KEY), "base_url must be http://host"),
    (lambda _: HttpClient("https://me:pw@example.com", KEY), "without a user and password"),
    (lambda _: HttpClient("https://example.com", f"{KEY}\n"), "key must be the text that `unmask key add` printed"),
    (lambda _: HttpClient("https://example.com", ""), "key must be the text"),
    (lambda client: client.enqueue(account_id="", url="a.jpg"), "account_id must have 1 to 128 characters"),
    (lambda client: client.enqueue(account_id="ada", url="a.jpg", wait=-1), "wait must be whole seconds"),
    (lambda client: client.enqueue_photo(b"", account_id="a\r\nb"), "account_id must be without control characters"),
    (lambda client: client.result("a" * 129), "image_id must have 1 to 128 characters"),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_word_is_refused_before_anything_is_sent(
    client: HttpClient, peer: Peer, call: Callable[[HttpClient], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call(client)
    assert peer.asked == []
    assert KEY not in str(caught.value)
