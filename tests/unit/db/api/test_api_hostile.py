"""What nobody should send is refused clearly, within bounds, and does no harm to others."""

import base64
import json
import resource
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from db.access import api_keys
from db.api.http.server import Address
from db.store.session import Database
from tests.unit.db.api.doors import PATIENCE_S, Door, Serve, make_key, running

Rows = Callable[[str], list[Any]]
A = {"account_id": "acc", "url": "https://cdn.example.com/a.jpg", "image_id": "a"}
GIGABYTE = 1024**3


def status_of(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """An answer's status, and its document."""
    whole = b""
    while chunk := _received(connection):
        whole += chunk
        _, _, body = whole.partition(b"\r\n\r\n")
        if body.endswith(b"}"):
            break
    return int(whole.split()[1]), json.loads(body)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


# Keys


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer wrong",
        "Bearer unmask_" + "x" * 43,
        "Basic !!!",
        "Digest x",
        "Bearer \u00fc".encode("latin-1"),
    ],
)
def test_without_a_key_of_this_installation_nothing_opens(door: Door, header: str) -> None:
    answer = door.ask("GET", "/v1/models", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_key_opens_what_its_scopes_say_until_it_is_revoked(serve: Serve, database: Database) -> None:
    door = serve(make_key(database, "read"))
    assert door.ask("GET", "/v1/models").status_code == 200
    answer = door.post(A)
    assert (answer.status_code, answer.json()["detail"]) == (403, "key app lacks the scope submit")
    with database.writing() as session:
        api_keys.revoke_key(session, "app")
    assert door.ask("GET", "/v1/models").status_code == 401


def test_a_key_may_be_the_password_of_basic_authentication(door: Door) -> None:
    header = "Basic " + base64.b64encode(f"any:{door.key}".encode()).decode()
    assert door.ask("GET", "/v1/models", headers={"Authorization": header}).status_code == 200


def test_a_key_that_only_submits_hears_no_verdict(serve: Serve, database: Database) -> None:
    began = time.monotonic()
    answer = serve(make_key(database, "submit")).post(A, headers={"Prefer": "wait=20"})
    assert (answer.status_code, time.monotonic() - began < 10) == (202, True)


def test_a_key_that_asks_too_often_is_told_when_to_come_again(serve: Serve, database: Database) -> None:
    door = serve(make_key(database, rate_per_minute=2))
    assert [door.ask("GET", "/v1/models").status_code for _ in range(3)] == [200, 200, 429]
    answer = door.ask("GET", "/v1/models")
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert (answer.json()["limit"], answer.json()["value"]) == ("rate_per_minute", 2)


def test_the_door_notes_when_a_key_was_used(door: Door, rows: Rows) -> None:
    assert rows("SELECT last_used_at FROM api_keys") == [(None,)]
    door.ask("GET", "/v1/models")
    assert rows("SELECT last_used_at FROM api_keys") != [(None,)]


# Bodies


def test_a_body_of_a_gigabyte_is_refused_by_its_length_and_not_read(door: Door) -> None:
    with door.connect() as connection:
        connection.sendall(_head(door, "image/jpeg", f"Content-Length: {GIGABYTE}") + b"x" * 1000)
        status, problem = status_of(connection)
    assert (status, problem["limit"], problem["value"]) == (413, "UNMASK_API_MAX_PHOTO_BYTES", 20 * 1024 * 1024)


def test_a_body_without_an_end_is_refused_at_the_limit_and_takes_no_memory(serve: Serve) -> None:
    door = serve(api_max_photo_bytes=1024 * 1024)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with door.connect() as connection:
        connection.sendall(_head(door, "image/jpeg", "Transfer-Encoding: chunked"))
        sender = threading.Thread(target=_send_for_ever, args=(connection,))
        sender.start()
        assert status_of(connection)[0] == 413
    sender.join(PATIENCE_S)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


def _send_for_ever(connection: socket.socket) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    try:
        for _ in range(GIGABYTE // 65536):
            connection.sendall(chunk)
    except OSError:
        return


def _head(door: Door, kind: str, *headers: str) -> bytes:
    lines = ["POST /v1/images?account_id=a HTTP/1.1", "Host: door", f"Content-Type: {kind}", *headers]
    return "\r\n".join([*lines, f"Authorization: Bearer {door.key}", "", ""]).encode()


def test_a_photo_in_a_form_has_the_same_limit(serve: Serve, rows: Rows) -> None:
    door = serve(api_max_photo_bytes=1000)
    for size, status in ((1000, 202), (1001, 413), (200_000, 413)):
        answer = door.ask("POST", "/v1/images", data={"account_id": "a"}, files={"photo": b"x" * size})
        assert answer.status_code == status
    assert len(rows("SELECT id FROM images")) == 1


def test_a_body_that_does_not_come_is_given_up(serve: Serve) -> None:
    door = serve(api_body_timeout_s=0.3)
    with door.connect() as connection:
        connection.sendall(_head(door, "image/jpeg", "Content-Length: 1000") + b"half")
        assert status_of(connection)[0] == 408


def test_all_bodies_together_have_a_limit(serve: Serve) -> None:
    door = serve(api_max_body_bytes=100_000)
    with door.connect() as slow:
        slow.sendall(_head(door, "image/jpeg", "Content-Length: 90000") + b"x" * 89_999)
        time.sleep(0.3)
        answer = door.ask("POST", "/v1/images?account_id=a", data=b"x" * 20_000, headers={"Content-Type": "image/png"})
        assert (answer.status_code, answer.json()["limit"]) == (503, "UNMASK_API_MAX_BODY_BYTES")
    assert door.post(A).status_code == 202


@pytest.mark.parametrize("kind", ["text/html", "", "application/x-www-form-urlencoded", "multipart/mixed"])
def test_another_content_type_is_refused(door: Door, kind: str) -> None:
    assert door.ask("POST", "/v1/images", data=b"x", headers={"Content-Type": kind}).status_code == 415


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"account_id": "a"}', b'{"account_id": 7, "url": "a.jpg"}', b"\xff\xfe",
        b'{"account_id": "a", "url": "a.jpg", "state": "scored"}', b"[" * 10_000, b'{"account_id":"\\ud800","url":"a"}',
        b'{"account_id": "a", "url": "a.jpg", "lane": "fast"}', b'{"account_id": "a\\u0000", "url": "a.jpg"}',
        b'{"account_id": "a", "url": "a.jpg", "image_id": "a\\u001b[31m"}', b'{"account_id": "", "url": "a.jpg"}',
    ],
)  # fmt: skip
def test_half_a_document_and_ids_that_are_none_are_refused(door: Door, rows: Rows, body: bytes) -> None:
    answer = door.ask("POST", "/v1/images", data=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["status"]) == (422, 422)
    assert rows("SELECT id FROM images") == []


@pytest.mark.parametrize(
    "body",
    [b"", b"no form", b"--x\r\n\r\n", b'--x\r\nContent-Disposition: form-data; name="photo"\r\n\r\ntext\r\n--x--\r\n'],
)
@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_form_that_is_none_is_refused(door: Door, body: bytes, kind: str) -> None:
    assert door.ask("POST", "/v1/images", data=body, headers={"Content-Type": kind}).status_code == 422


@pytest.mark.parametrize(
    ("form", "says"),
    [({"photo": "face.jpg"}, "photo=@FILE"), ({"url": "a.jpg"}, "post JSON"), ({}, "no file in the field 'photo'")],
)
def test_a_form_without_a_file_is_told_what_to_do(door: Door, form: dict[str, str], says: str) -> None:
    files = {name: (None, value) for name, value in (form | {"account_id": "a"}).items()}
    answer = door.ask("POST", "/v1/images", files=files)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/images/a%00b", "/v1/images/" + "x" * 129])
def test_an_id_in_a_path_that_is_none_is_refused(door: Door, path: str) -> None:
    assert door.ask("GET", path).status_code == 422


def test_what_is_not_there_and_what_is_there_by_another_method_are_problems_too(door: Door) -> None:
    assert door.ask("GET", "/v2").json()["status"] == 404
    answer = door.ask("PATCH", "/v1/images/a")
    assert (answer.status_code, sorted(answer.headers["allow"].split(", "))) == (405, ["DELETE", "GET", "HEAD", "PUT"])


# Too much


def test_no_more_is_taken_than_may_wait_in_a_lane(serve: Serve) -> None:
    door = serve(api_max_waiting=1)
    assert door.post(A | {"lane": "backfill"}).status_code == 202
    time.sleep(1.1)  # until it is counted again
    answer = door.post(A | {"image_id": "b", "lane": "backfill"})
    assert (answer.status_code, answer.json()["limit"]) == (503, "UNMASK_API_MAX_WAITING")
    assert int(answer.headers["retry-after"]) > 0
    assert door.post(A | {"image_id": "c"}).status_code == 202


def test_no_more_bytes_are_taken_than_may_be_stored(serve: Serve) -> None:
    door = serve(api_max_stored_bytes=10)
    answer = door.ask("POST", "/v1/images", data={"account_id": "a"}, files={"photo": b"x" * 11})
    assert (answer.status_code, answer.json()["limit"]) == (503, "UNMASK_API_MAX_STORED_BYTES")
    assert door.post(A).status_code == 202


def test_no_more_requests_are_in_hand_than_may_be(serve: Serve) -> None:
    door = serve(api_max_requests=1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(door.post, A, headers={"Prefer": "wait=2"})
        time.sleep(0.7)
        answer = door.ask("GET", "/v1/models")
        assert (answer.status_code, answer.json()["limit"]) == (503, "UNMASK_API_MAX_REQUESTS")
        assert waiting.result().status_code == 202
    assert door.ask("GET", "/v1/models").status_code == 200


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count, hard)), hard))


def test_connections_that_send_nothing_harm_nobody_and_end(serve: Serve) -> None:
    door = serve(api_max_connections=100, api_header_timeout_s=1.0)
    _allow_files(2500)
    silent = [door.connect() for _ in range(2000)]
    try:
        assert door.ask("GET", "/healthz").status_code == 200
        for connection in silent:
            assert _received(connection) == b""  # closed, all of them
        assert door.ask("GET", "/healthz").status_code == 200
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("half", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: door\r\nX: "])
def test_half_a_head_ends_in_time_on_a_fresh_and_on_a_used_connection(serve: Serve, half: bytes) -> None:
    door = serve(api_header_timeout_s=0.5)
    for before in (b"", b"GET /healthz HTTP/1.1\r\nHost: door\r\n\r\n"):
        with door.connect() as connection:
            connection.sendall(before)
            if before:
                status_of(connection)
            connection.sendall(half)
            began = time.monotonic()
            assert _received(connection) == b""
            assert time.monotonic() - began < 10


def test_a_head_that_is_too_large_is_refused(door: Door) -> None:
    with door.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 100_000)
        assert _received(connection).startswith(b"HTTP/1.1 4")


# Answers


def test_a_request_id_goes_through_when_it_is_one(door: Door) -> None:
    assert door.ask("GET", "/healthz", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert door.ask("GET", "/healthz", headers={"X-Request-Id": "a b<"}).headers["x-request-id"] != "a b<"


def test_everybody_may_ask_for_health_the_description_and_the_page(door: Door) -> None:
    key, door.key = door.key, ""
    assert door.ask("GET", "/healthz").json() == {"status": "ok"}
    described = door.ask("GET", "/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    assert set(described["paths"]) >= {"/v1/images", "/v1/images:batch", "/v1/images/{image_id}", "/v1/pict-rs"}
    page = door.ask("GET", "/docs")
    assert "unmask key add" in page.text
    assert "http://" not in page.text.replace("http://127.0.0.1:8080", "")
    assert key not in page.text


def test_models_and_policies_are_listed(
    door: Door, version_id: int, set_threshold: Callable[..., int], add_policy: Callable[[str], None]
) -> None:
    assert version_id
    add_policy("vip")
    set_threshold(0.5)
    (model,) = door.ask("GET", "/v1/models").json()["models"]
    assert (model["name"], model["state"]) == ("first", "active")
    found = door.ask("GET", "/v1/policies").json()["policies"]
    assert [(each["name"], each["threshold"], each["own_threshold"]) for each in found] == [
        ("default", 0.5, True),
        ("vip", 0.5, False),
    ]


@pytest.mark.slow
def test_the_door_speaks_https_with_a_certificate_of_its_own(database: Database, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certfile, keyfile, trusted = tmp_path / "cert", tmp_path / "key", tmp_path / "ca"
    certificate.cert_chain_pems[0].write_to_path(str(certfile))
    certificate.private_key_pem.write_to_path(str(keyfile))
    authority.cert_pem.write_to_path(str(trusted))
    with running(database, "", address=Address("127.0.0.1", 0, certfile, keyfile)) as door:
        answer = requests.get(f"https://127.0.0.1:{door.port}/healthz", verify=str(trusted), timeout=PATIENCE_S)
        assert answer.json() == {"status": "ok"}
