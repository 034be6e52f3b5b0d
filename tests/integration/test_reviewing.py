"""A case from a worker's flag to a person's decision, on real parts; and the platform hears of both."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from db.store.session import Database

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the scheme's own example
PATIENCE_S = 150


class Listener(ThreadingHTTPServer):
    """The platform: keeps what it is told, when its signature is right."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: list[dict[str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        listener = self.server
        assert isinstance(listener, Listener)
        body = self.rfile.read(int(self.headers["content-length"]))
        listener.told.append(Webhook(SECRET).verify(body, dict(self.headers)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def environment(
    database: Database, broker_url: str, listener: Listener, tmp_path: Path, photo: Path, tiny_checkpoint: Path
) -> dict[str, str]:
    """What an operator would set; a quick model that flags everything."""
    (tmp_path / "media").mkdir()
    shutil.copy(photo, tmp_path / "media" / "a.jpg")
    environment = os.environ | {
        "UNMASK_DATABASE_URL": database.url.render_as_string(hide_password=False),
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MODELS_DIR": str(tmp_path / "models"),
        "UNMASK_MEDIA_ROOT": str(tmp_path / "media"),
        "UNMASK_RUN_DIR": str(tmp_path / "run"),
        "UNMASK_ENGINE": "eager",
        "UNMASK_WEBHOOK_URL": f"http://127.0.0.1:{listener.server_port}/hook",
        "UNMASK_WEBHOOK_SECRET": SECRET,
        "UNMASK_BLIND_SHARE": "0",
        "UNMASK_ACTOR": "ada",
    }
    unmask(environment, "model", "register", str(tiny_checkpoint))
    unmask(environment, "threshold", "set", "--value", "0", "--reason", "all")
    return environment


def unmask(environment: dict[str, str], *words: str) -> str:
    """Run a command as a person would; its standard output."""
    command = [sys.executable, "-m", "worker", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def worker(environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("ab") as file:
        command = [sys.executable, "-m", "worker", "worker"]
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, log.read_text()[-2000:]
    finally:
        process.kill()


def wait_until(done: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.1)


@pytest.mark.main_job
@pytest.mark.timeout(2 * PATIENCE_S)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_flag_is_told_decided_in_the_terminal_and_told_again(
    environment: dict[str, str], listener: Listener, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    with worker(environment, log):
        unmask(environment, "enqueue", "--account", "bob", "--url", "a.jpg", "--image-id", "a")
        wait_until(lambda: len(listener.told) == 1, log)
        case = json.loads(unmask(environment, "review", "next", "--json"))
        assert (case["account"], [photo["image"] for photo in case["photos"]]) == ("bob", ["a"])
        unmask(environment, "review", "decide", str(case["case"]), "confirmed", "--version", str(case["version"]))
        wait_until(lambda: len(listener.told) == 2, log)
    opened, confirmed = listener.told
    assert [told["type"] for told in (opened, confirmed)] == ["case.opened", "case.confirmed"]
    assert opened["data"] == {
        "case": case["case"], "version": 1, "account": "bob", "policy": "default", "images": ["a"],
    }  # fmt: skip
    assert confirmed["data"]["version"] > opened["data"]["version"]
