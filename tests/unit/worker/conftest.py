"""Our app on a broker of the test's own, and what it sent there."""

import base64
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import kombu
import pytest
from redis import Redis

from db.models import versions
from db.store.session import Database
from trainer.pixels.preprocess import FINGERPRINT
from worker.broker.app import app
from worker.commands.model import store_checkpoint
from worker.core.outage import faults
from worker.core.settings import WorkerSettings
from worker.pipeline.service import Service


@pytest.fixture(autouse=True)
def _own_faults() -> Iterator[None]:
    """Each test has its own list of faults."""
    faults.clear()
    yield
    faults.clear()


@pytest.fixture
def point_app() -> Iterator[Callable[[str], None]]:
    """``point_app(url)`` lets our app talk to another broker; whatever it opened is closed at the end."""
    before: str = app.conf.broker_url

    def point(url: str) -> None:
        app.conf.update(broker_url=url)
        kombu.pools.reset()
        vars(app).pop("amqp", None)  # holds producers for the old broker

    yield point
    point(before)


@pytest.fixture
def broker(broker_url: str, point_app: Callable[[str], None]) -> str:
    """A broker that our app talks to."""
    point_app(broker_url)
    return broker_url


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a broker that refuses connections: a port that is taken, and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://:s3cret@127.0.0.1:{taken.getsockname()[1]}/0"


@pytest.fixture
def port() -> int:
    """A free port, away from those that other servers of the tests choose, for one that stops and starts again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    return number


@pytest.fixture
def sent(broker: str) -> Callable[[], list[list[str]]]:
    """The image ids of each message that waits in the queue, the first sent first."""

    def read() -> list[list[str]]:
        with Redis.from_url(broker) as client:
            messages = [json.loads(message) for message in client.lrange("unmask:unmask", 0, -1)]
        assert all(message["headers"]["task"] == "worker.score_images" for message in messages)
        return [json.loads(base64.b64decode(message["body"]))[0][0] for message in reversed(messages)]

    return read


@pytest.fixture
def settings_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The test's database, where commands look for theirs."""
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    return database


@pytest.fixture
def media(tmp_path: Path, photo: Path) -> Path:
    """A folder with photos a.jpg to e.jpg."""
    folder = tmp_path / "media"
    folder.mkdir()
    for name in "abcde":
        shutil.copy(photo, folder / f"{name}.jpg")
    return folder


@pytest.fixture
def worker_settings(database: Database, media: Path, tmp_path: Path) -> WorkerSettings:
    """A worker's, with quick retries."""
    return WorkerSettings(
        database_url=database.url.render_as_string(hide_password=False),
        media_root=media,
        models_dir=tmp_path / "models",
        device="cpu",
        engine="eager",  # starts sooner
        concurrency=4,
    )


@pytest.fixture
def registered(
    database: Database, tiny_checkpoint: Path, other_checkpoint: Path, worker_settings: WorkerSettings
) -> list[int]:
    """Both checkpoints in the models directory and in the record: the tiny one is active, the other a candidate."""
    ids = []
    for name, path in (("tiny", tiny_checkpoint), ("other", other_checkpoint)):
        sha256 = store_checkpoint(path, worker_settings.models_dir)
        with database.writing() as session:
            ids.append(versions.register(session, name, sha256, FINGERPRINT, {}).id)
    return ids


@pytest.fixture
def service(worker_settings: WorkerSettings, registered: list[int]) -> Iterator[Service]:  # noqa: ARG001
    """A worker's service as it opens, without a broker."""
    service = Service.open(worker_settings)
    yield service
    service.close()
