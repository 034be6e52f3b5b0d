"""All of Unmask behind a real PgBouncer that gives each transaction another server connection."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import requests
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from unmask_client import enqueue

from db.models import versions
from db.schema import Image
from db.store.session import Database
from db.work import images
from trainer.pixels.preprocess import FINGERPRINT
from worker.commands.model import store_checkpoint

PATIENCE_S = 90
#: Fewer server connections than the worker has threads that use the database.
POOL = 4
#: Debian puts it where only root's PATH looks.
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed (Debian: pgbouncer)")

_CONFIG = """[databases]
* = host={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 200
"""


@pytest.fixture
def pooled_url(postgres_url: str, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database behind PgBouncer; its connections find our tables by their schema's name alone."""
    database = urlsplit(postgres_url).path.lstrip("/")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {database} RESET search_path".encode())
    port = free_port()
    server = parse_qs(urlsplit(postgres_url).query)["host"][0]
    config = _CONFIG.format(server=server, port=port, pool=POOL)
    with pgbouncer(config, owner(server), tmp_path / "pgbouncer.log", port):
        yield f"postgresql://unmask@127.0.0.1:{port}/{database}"


@contextmanager
def pgbouncer(config: str, user: int | None, log: Path, port: int) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as file:
        Path(folder).chmod(0o755)  # for the user that it runs as
        path = Path(folder) / "pgbouncer.ini"
        path.write_text(config)
        process = subprocess.Popen([str(PGBOUNCER), path], stdout=file, stderr=file, user=user)
        try:
            wait_until(lambda: answers(port) or process.poll() is not None, log)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.kill()
            process.wait()


def owner(folder: str) -> int | None:
    """Who owns PostgreSQL's socket: as root, whose process PgBouncer refuses to be, we run it as that user."""
    return Path(folder).stat().st_uid if os.getuid() == 0 else None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def wait_until(done: Callable[[], bool], log: Path) -> float:
    """Seconds until it is so."""
    begun = time.monotonic()
    while not done():
        assert time.monotonic() - begun < PATIENCE_S, log.read_text()[-3000:]
        time.sleep(0.02)
    return time.monotonic() - begun


@pytest.fixture
def environment(pooled_url: str, broker_url: str, tmp_path: Path, photo: Path, tiny_checkpoint: Path) -> dict[str, str]:
    """Of processes that know of the database only through the pooler; a tiny model is registered."""
    media = tmp_path / "media"
    media.mkdir()
    (media / "a.jpg").write_bytes(photo.read_bytes())
    found = os.environ | {
        "UNMASK_DATABASE_URL": pooled_url,
        "UNMASK_DB_POOLER": "transaction",
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MODELS_DIR": str(tmp_path / "models"),
        "UNMASK_MEDIA_ROOT": str(media),
        "UNMASK_RUN_DIR": str(tmp_path / "run"),
        "UNMASK_ENGINE": "eager",
    }
    unmask(found, "db", "upgrade")
    database = Database(pooled_url, pooler="transaction")
    with database.writing() as session:
        sha256 = store_checkpoint(tiny_checkpoint, tmp_path / "models")
        versions.register(session, "tiny", sha256, FINGERPRINT, {})
    database.close()
    return found


def unmask(environment: dict[str, str], *words: str) -> str:
    """Run a command as a person would; its standard output."""
    command = [sys.executable, "-m", "worker", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or (words[0], done.returncode) == ("status", 1), done.stderr  # 1: all is not well
    return done.stdout


@contextmanager
def running(environment: dict[str, str], log: Path, *words: str) -> Iterator[None]:
    """One of our processes, which must obey SIGTERM."""
    with log.open("ab") as file:
        process = subprocess.Popen([sys.executable, "-m", "worker", *words], env=environment, stdout=file, stderr=file)
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) in (0, -signal.SIGTERM), log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


def count_scored(database: Database) -> int:
    with database.reading() as session:
        return images.count_images(session)["scored"]


def is_begun(database: Database, image_id: str) -> bool:
    with database.reading() as session:
        return session.get_one(Image, image_id).attempts > 0


def test_a_hundred_uploads_are_scored_through_it_and_the_relay_hears_of_them_by_looking(
    environment: dict[str, str], pooled_url: str, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    database = Database(pooled_url, pooler="transaction")
    engine = create_engine(pooled_url.replace("://", "+psycopg://"), connect_args={"prepare_threshold": None})
    with running(environment, log, "worker"), psycopg.connect(pooled_url, prepare_threshold=None) as connection:
        for number in range(50):
            enqueue(connection, account_id="acc", url="a.jpg", image_id=f"driver-{number}")
            connection.commit()
            with Session(engine) as session, session.begin():
                enqueue(session, account_id="acc", url="a.jpg", image_id=f"session-{number}")
        wait_until(lambda: count_scored(database) == 100, log)
        with Session(engine) as session, session.begin():
            enqueue(session, account_id="acc", url="a.jpg", image_id="last")
        waited_s = wait_until(lambda: is_begun(database, "last"), log)
        found = json.loads(unmask(environment, "status", "--json"))
    engine.dispose()
    database.close()
    sys.stdout.write(f"commit to lease: {1000 * waited_s:.0f} ms\n")
    assert waited_s < 30
    assert (found["images"]["scored"] >= 100, found["model"]) == (True, "tiny")
    assert "prepared statement" not in log.read_text()


def test_the_console_and_the_http_door_answer_through_it(environment: dict[str, str], tmp_path: Path) -> None:
    key = json.loads(unmask(environment, "key", "add", "app", "--scope", "submit,read", "--json"))["key"]
    console, door, log = free_port(), free_port(), tmp_path / "log"
    with (
        running(environment, log, "console", "--port", str(console)),
        running(environment, log, "serve", "--port", str(door)),
    ):
        for port in (console, door):
            wait_until(partial(answers, port), log)
            for _ in range(10):
                assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=30).status_code == 200
        for number in range(20):
            photo = {"account_id": "acc", "url": "a.jpg", "image_id": f"http-{number}"}
            headers = {"Authorization": f"Bearer {key}"}
            answer = requests.post(f"http://127.0.0.1:{door}/v1/images", json=photo, headers=headers, timeout=30)
            assert answer.status_code == 202, answer.text
    assert json.loads(unmask(environment, "status", "--json"))["waiting"]["upload"] == 20
