"""The HTTP door: how long a call waits for its verdict, and how many requests a second one process answers.

The clients, the door, PostgreSQL and the worker share this machine's cores.
"""

import http.client
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from tests.benchmarks import detectors
from tests.benchmarks.contestants import bare
from tests.benchmarks.measured import Measured, in_turns, ratio
from tests.benchmarks.stand import PATIENCE_S, Stand, stand
from tests.integration.test_http_door import free_port

#: Calls that wait for their verdict, one at a time.
ROUNDS = 30
#: Requests of which the rate is measured, and the connections that send them.
REQUESTS, CLIENTS = 400, 8
_WAIT_S = 30


@dataclass(frozen=True, slots=True)
class Request:
    """One photo that is submitted."""

    body: bytes
    content_type: str
    query: str = ""


def measure() -> list[Measured]:
    """First with a worker, in pairs with the work itself; then without one, so that the door has the cores."""
    with stand(detectors.FULL) as place, door(place) as connect:
        found = _waiting(place, connect)
        for name, requests in (("a URL", by_url(place)), ("bytes", by_bytes(place))):
            rate = _rate(connect, itertools.islice(requests, REQUESTS))
            key = f"http_{name.split()[-1].lower()}_per_s"
            found.append(Measured(f"HTTP door: submit {name}, {CLIENTS} connections", rate, "requests/s", key=key))
    return found


Connect = Callable[[], "Client"]


class Client:
    """A connection that stays open."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self._key = key

    def submit(self, request: Request, wait_s: int = 0) -> str:
        """Returns the state of the photo; raises RuntimeError when it is refused."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": request.content_type}
        preference = {"Prefer": f"wait={wait_s}"} if wait_s else {}
        self._connection.request("POST", f"/v1/images{request.query}", request.body, headers | preference)
        answer = self._connection.getresponse()
        document = json.load(answer)
        if answer.status not in (http.HTTPStatus.OK, http.HTTPStatus.ACCEPTED):
            raise RuntimeError(f"the door refused a photo: {document}")
        state: str = document["state"]
        return state


@contextmanager
def door(place: Stand) -> Iterator[Connect]:
    """One process of ``unmask serve``; opens connections to it that have a key."""
    words = [sys.executable, "-m", "worker"]
    add = [*words, "key", "add", "bench", "--scope", "submit,read"]
    key = subprocess.run(add, env=dict(place.environment), check=True, capture_output=True, text=True).stdout.strip()
    port = free_port()
    with (place.folder / "serve.log").open("wb") as log:
        serve = [*words, "serve", "--port", str(port)]
        process = subprocess.Popen(serve, env=dict(place.environment), stdout=log, stderr=log)
    try:
        _wait_for(port)
        yield lambda: Client(port, key)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait_for(port: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            http.client.HTTPConnection("127.0.0.1", port).connect()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def by_url(place: Stand) -> Iterator[Request]:
    """The stand's photos again and again, each by its path."""
    for path in itertools.cycle(sorted(place.photos.iterdir())):
        yield Request(json.dumps({"account_id": "bench", "url": path.name}).encode(), "application/json")


def by_bytes(place: Stand) -> Iterator[Request]:
    """The same photos, each as the body itself."""
    for path in itertools.cycle(sorted(place.photos.iterdir())):
        yield Request(path.read_bytes(), "image/jpeg", "?account_id=bench")


def _waiting(place: Stand, connect: Connect) -> list[Measured]:
    requests = by_bytes(place)
    with place.worker(), bare(place, "auto") as loop:
        pairs = in_turns(lambda: _call_s(connect(), next(requests)), lambda: loop.cost(1, batch=1).seconds, ROUNDS)
    name = f"HTTP door: bytes with Prefer: wait={_WAIT_S}"
    ours_ms = [1000 * ours for ours, _ in pairs]
    percentiles = [
        Measured(f"{name}, p{p}", float(np.percentile(ours_ms, p)), "ms", key=f"http_wait_p{p}_ms") for p in (50, 95)
    ]
    bare_ms = 1000 * float(np.median([bare_s for _, bare_s in pairs]))
    return [
        *percentiles,
        Measured("decode and forward pass of the same photos, p50", bare_ms, "ms", key="http_bare_p50_ms"),
        ratio("the call, of decode and forward pass", pairs, key="http_wait_ratio"),
    ]


def _call_s(client: Client, request: Request) -> float:
    """By a connection of its own: the door closes one that was idle while the bare work ran."""
    begun = time.perf_counter()
    if client.submit(request, _WAIT_S) != "scored":
        raise RuntimeError(f"a photo has no score after {_WAIT_S} s")
    return time.perf_counter() - begun


def _rate(connect: Connect, requests: Iterator[Request]) -> float:
    """Requests a second; one photo each, and no worker takes any."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        shares = [list(share) for share in _dealt(list(requests))]
        begun = time.perf_counter()
        list(pool.map(lambda share: _submit_all(connect(), share), shares))
        return sum(map(len, shares)) / (time.perf_counter() - begun)


def _dealt(requests: list[Request]) -> Iterator[list[Request]]:
    for number in range(CLIENTS):
        yield requests[number::CLIENTS]


def _submit_all(client: Client, requests: list[Request]) -> None:
    for request in requests:
        client.submit(request)
