"""The receivers of `deploy/EVENTS.md` hear what a dispatcher of ours sends, as an application would run them."""

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, update

from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.schema import Delivery
from db.schema.clock import moment
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from tests.clients import installing
from worker.background.webhooks import WebhookDispatcher
from worker.core.settings import WebhookSettings

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "deploy" / "EVENTS.md").read_text()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the scheme's own example
PATIENCE_S = 30


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Our record."""
    database = Database(f"sqlite:///{tmp_path}/unmask.db")
    database.upgrade()
    yield database
    database.close()


def example(language: str, port: int) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert "8000" in found
    return str(found).replace("8000", str(port))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def running(port: int, folder: Path, *command: str) -> Iterator[Path]:
    """The receiver, once it listens; what it says goes to a file."""
    environment = os.environ | {
        "UNMASK_WEBHOOK_SECRET": SECRET,
        "PYTHONPATH": str(PROJECT / "deploy" / "clients" / "python"),
    }
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not answers(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield log
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def send(database: Database, port: int) -> None:
    """Of a photo that is scored and flagged, each event twice, as if the first answers had been lost."""
    settings = {
        "UNMASK_WEBHOOK_URL": f"http://127.0.0.1:{port}/hook",
        "UNMASK_WEBHOOK_SECRET": SECRET,
        "UNMASK_WEBHOOK_EVENTS": "case.opened,image.scored,image.flagged",
    }
    dispatcher = WebhookDispatcher(database, "me", WebhookSettings.load(settings))
    dispatcher.listen()
    with database.writing() as session:
        version = versions.register(session, "m", "1" * 64, "unmask-1", {})
        thresholds.set_value(session, version.id, "default", 0.5, "pat", "")
        images.add_images(session, [NewImage("photo-1", "ada", "a.jpg")], -60)
        batch = [Scored("photo-1", "default", 0.9, "f" * 64, 1000, 640, 480)]
        scores.record(session, batch, Provenance(version.id, "eager-fp32", "cpu"))
    for _ in range(2):
        assert dispatcher.step() is True
        with database.writing() as session:
            assert set(session.scalars(select(Delivery.state))) == {"done"}
            session.execute(update(Delivery).values(state="pending", next_attempt_at=moment(-1)))


def test_the_receiver_in_python_stores_each_event_once(database: Database, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "receiver.py").write_text(example("python", port))
    with running(port, tmp_path, sys.executable, "receiver.py"):
        send(database, port)
    with closing(sqlite3.connect(tmp_path / "app.db")) as app:
        assert app.execute("SELECT count(*) FROM heard").fetchall() == [(3,)]
        assert app.execute("SELECT * FROM verdicts").fetchall() == [("photo-1", "scored", 1)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_receiver_in_node_acts_on_each_event_once(database: Database, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "package.json").write_text('{"name": "application", "private": true, "type": "module"}')
    installing.npm(tmp_path, installing.npm_pack(PROJECT / "deploy" / "clients" / "node", tmp_path))
    (tmp_path / "receiver.js").write_text(example("js", port))
    with running(port, tmp_path, shutil.which("node") or "node", "receiver.js") as log:
        send(database, port)
        said = log.read_text()
    assert sorted(said.splitlines()) == ["image.flagged photo-1 scored true", "image.scored photo-1 scored true"]
