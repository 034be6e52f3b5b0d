"""The HTTP door as `unmask serve` runs it, for tests: a real server on a free port, and a client with a key."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
import uvicorn

from db.access import api_keys
from db.api.app import build_api
from db.api.http.server import Address, config_of
from db.api.settings import ApiSettings
from db.store.session import Database

PATIENCE_S = 30


@dataclass
class Door:
    """A running door, and somebody who has a key for it."""

    port: int
    key: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}"} | more.pop("headers", {})
        return requests.request(method, self.url + path, headers=headers, timeout=PATIENCE_S, **more)

    def post(self, document: Any, **more: Any) -> requests.Response:
        return self.ask("POST", "/v1/images", json=document, **more)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)


def make_key(database: Database, *scopes: str, name: str = "app", **more: Any) -> str:
    with database.writing() as session:
        return api_keys.add_key(session, name, scopes or api_keys.SCOPES, "test", **more)


#: A free port of this machine.
LOCAL = Address("127.0.0.1", 0)

Serve = Callable[..., Door]


@contextmanager
def running(database: Database, key: str, address: Address = LOCAL, **settings: Any) -> Iterator[Door]:
    """As ``unmask serve`` runs it, in a thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        read = ApiSettings.model_validate({"database_url": "sqlite:///unused.db", "api_poll_s": 0.02} | settings)
        config = config_of(build_api(database, read), read, address)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            _wait_until(lambda: server.started)
            yield Door(listener.getsockname()[1], key)
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)


def _wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)
