"""What a worker is measured on: PostgreSQL, Valkey, photos by path, and real worker processes."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import kombu

from db.store.session import Database
from tests.benchmarks import detectors, pictures
from tests.chaos.broker import Broker
from tests.chaos.databases import Postgres
from tests.chaos.workers import Worker
from tests.chaos.world import unmask
from worker.broker.app import app

#: Photos as phones send them: another one each time, before they come round again.
PHOTOS, PHOTO_SIZE = 64, (1600, 1200)
#: The longest wait for anything, on a machine however busy.
PATIENCE_S = 300.0

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Stand:
    """Servers that run, and a registered model; ``environment`` is what workers and commands are told."""

    environment: Mapping[str, str]
    database: Database
    broker: Broker
    photos: Path
    checkpoint: Path
    folder: Path

    @contextmanager
    def worker(self, prefix: Sequence[str] = (), **environment: str) -> Iterator[Worker]:
        """A worker that takes messages, told something else than others where given; in the end it must obey.

        ``prefix`` are words before its command.
        """
        log = Path(tempfile.mkstemp(dir=self.folder, suffix=".log")[1])
        worker = Worker({**self.environment, **environment}, log, prefix)
        try:
            _wait_for(worker)
            yield worker
            worker.process.terminate()
            worker.process.wait(PATIENCE_S)
        finally:
            worker.process.kill()
            worker.process.wait()


@contextmanager
def stand(backbone: str, photo_size: tuple[int, int] = PHOTO_SIZE) -> Iterator[Stand]:
    """A stand of our own, whose model has that backbone; this process's messages go to its broker, too."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unmask-bench-")))
        server = Postgres(folder / "postgresql")
        stack.callback(server.close)
        broker = Broker(folder / "valkey")
        stack.callback(broker.close)
        environment = _environment(server.url, broker.url, folder)
        checkpoint = detectors.make(folder / f"{backbone}.safetensors", backbone)
        unmask(environment, "db", "upgrade")
        unmask(environment, "model", "register", str(checkpoint))
        database = Database(server.url)
        stack.callback(database.close)
        stack.enter_context(_sending_to(broker.url))
        pictures.make(folder / "photos", PHOTOS, photo_size)
        yield Stand(environment, database, broker, folder / "photos", checkpoint, folder)


def _environment(database_url: str, broker_url: str, folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("UNMASK_")}
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]),
        "UNMASK_DATABASE_URL": database_url,
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MEDIA_ROOT": str(folder / "photos"),
        "UNMASK_MODELS_DIR": str(folder / "models"),
        "UNMASK_RUN_DIR": str(folder / "run"),
        "UNMASK_DEVICE": "cpu",
    }


@contextmanager
def _sending_to(broker_url: str) -> Iterator[None]:
    before: str = app.conf.broker_url
    _point(broker_url)
    yield
    _point(before)


def _point(broker_url: str) -> None:
    app.conf.update(broker_url=broker_url)
    kombu.pools.reset()
    vars(app).pop("amqp", None)  # holds producers for the old broker


def _wait_for(worker: Worker) -> None:
    end = time.monotonic() + PATIENCE_S
    while not worker.is_ready():
        if worker.process.poll() is not None or time.monotonic() > end:
            sys.stderr.write(worker.last_words())
            raise RuntimeError(f"a worker does not start: {worker.log}")
        time.sleep(0.1)
