"""A photo's bytes come over HTTP, and its verdict goes back in the same call: a real worker, Valkey and door."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select

from db.schema import Image, Upload
from db.store.session import Database
from trainer.detector.checkpoint import SHIPPED

PATIENCE_S = 150


def unmask(environment: dict[str, str], *words: str) -> str:
    """Run a command as a person would; its standard output."""
    command = [sys.executable, "-m", "worker", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def process(environment: dict[str, str], log: Path, *words: str) -> Iterator[None]:
    """Stopped by SIGTERM, which it must obey."""
    with log.open("ab") as file:
        running = subprocess.Popen([sys.executable, "-m", "worker", *words], env=environment, stdout=file, stderr=file)
    try:
        yield
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) in (0, -signal.SIGTERM), log.read_text()[-2000:]
    finally:
        running.kill()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def test_bytes_are_scored_and_their_verdict_comes_in_one_call(
    database: Database, database_url: str, broker_url: str, photo: Path, tmp_path: Path
) -> None:
    environment = os.environ | {
        "UNMASK_DATABASE_URL": database_url,
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MODELS_DIR": str(tmp_path / "models"),
    }
    unmask(environment, "model", "register", str(SHIPPED))
    unmask(environment, "threshold", "set", "--value", "0.5", "--max-fpr", "0.2", "--reason", "a test")
    key = json.loads(unmask(environment, "key", "add", "app", "--scope", "submit,read", "--json"))["key"]
    port, log = free_port(), tmp_path / "log"
    url, headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {key}", "Prefer": "wait=30"}
    with process(environment, log, "worker"), process(environment, log, "serve", "--port", str(port)):
        wait_for(url, log)
        verdict = submitted(url, headers, photo, log)
        junk = {"account_id": "a-18", "image_id": "junk"}
        answer = requests.post(f"{url}/v1/images", data=junk, files={"photo": b"<html>"}, headers=headers, timeout=60)
    assert (answer.json()["state"], answer.json()["flagged"]) == (answer.json()["state"], None)
    assert answer.json()["reason"] == "not_an_image"
    alone = json.loads(unmask(environment, "score", "--json", str(photo)))[0]["score"]
    assert verdict["score"] == pytest.approx(alone, abs=1e-4)
    assert (verdict["state"], verdict["flagged"], verdict["threshold"]) == ("scored", alone >= 0.5, 0.5)
    assert verdict["one_in"] is None or verdict["one_in"] >= 1
    shown = json.loads(unmask(environment, "image", "show", "grace", "--json"))
    assert shown["score"] == verdict["score"]
    with database.reading() as session:
        assert session.scalars(select(Image.attempts)).all() == [1, 1]
        assert session.scalars(select(Upload.image_id)).all() == (["grace"] if verdict["flagged"] else [])
    assert key not in log.read_text()


def submitted(url: str, headers: dict[str, str], photo: Path, log: Path) -> dict[str, Any]:
    """A worker that still loads its model may take longer than one call waits."""
    deadline = time.monotonic() + PATIENCE_S
    fields = {"account_id": "a-17", "image_id": "grace"}
    while time.monotonic() < deadline:
        with photo.open("rb") as file:
            answer = requests.post(f"{url}/v1/images", data=fields, files={"photo": file}, headers=headers, timeout=60)
        if answer.status_code == 200:
            found: dict[str, Any] = answer.json()
            return found
        assert answer.status_code == 202, answer.text
    raise AssertionError(log.read_text()[-2000:])


def wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            assert requests.get(f"{url}/healthz", timeout=10).status_code == 200
        except requests.ConnectionError:
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
        else:
            return
