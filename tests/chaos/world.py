"""Everything that a run needs, and that its faults may harm: servers, workers, an upload flow and a photo host."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from db.store.session import Database
from db.work import images
from tests.chaos import detector, record
from tests.chaos.broker import Broker
from tests.chaos.databases import Postgres, Sqlite
from tests.chaos.kinds import Mix
from tests.chaos.photo_server import PhotoHost, photo_host
from tests.chaos.pictures import draw
from tests.chaos.record import THRESHOLD, Findings
from tests.chaos.uploads import Uploads
from tests.chaos.workers import Pool, Worker

#: What happens in seconds, and would take hours in production.
LEASE_S = 4.0
MAX_ATTEMPTS = 4
SETTINGS = {
    "UNMASK_LEASE_S": f"{LEASE_S:g}",
    "UNMASK_RESEND_S": "2",
    "UNMASK_VISIBILITY_TIMEOUT_S": "6",
    "UNMASK_RETRY_S": "0.5",
    "UNMASK_RETRY_DEADLINE_S": "8",
    "UNMASK_UPLOAD_GRACE_S": "2",
    "UNMASK_MAX_LOSSES": "200",  # leases are so much shorter, so whoever kills workers finds the same images in hand
    "UNMASK_MAX_ATTEMPTS": f"{MAX_ATTEMPTS}",
    "UNMASK_FETCH_TIMEOUT_S": "3",
    "UNMASK_DECODER_TIMEOUT_S": "6",
    "UNMASK_DECODER_MEMORY_MB": "512",
    "UNMASK_STOP_S": "15",
    "UNMASK_SWEEP_S": "0.5",
    "UNMASK_CONCURRENCY": "4",
    "UNMASK_DEVICE": "cpu",
    "UNMASK_ALLOW_HTTP": "true",
    "UNMASK_ALLOW_PRIVATE_ADDRESSES": "127.0.0.0/8",
    "UNMASK_ENGINE": "eager",  # starts sooner, and workers start hundreds of times
    "UNMASK_ACTOR": "chaos",
    "UNMASK_MAX_FPR": "1",  # a model of random weights, whose thresholds flag half of all photos
    "OMP_NUM_THREADS": "1",
}
#: The longest wait for anything, on a machine however busy.
PATIENCE_S = 240.0
#: Nothing changes for so long: it is stuck.
STUCK_S = 90.0
#: Images that wait for workers while load is steady.
BACKLOG = 40

_PLUG = Path(__file__).parent / "plug"
_ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class World:
    """One database with its servers, workers, upload flow and photo host."""

    random: random.Random
    environment: Mapping[str, str]
    server: Postgres | Sqlite
    database: Database
    broker: Broker
    host: PhotoHost
    pool: Pool
    uploads: Uploads
    expected: Mapping[str, float]
    folder: Path
    #: How long what is said to be long lasts, in seconds.
    absence_s: float
    found: Findings = field(default_factory=lambda: Findings(0, 0, frozenset(), frozenset(), frozenset()))

    def load(self, mix: Mix, backlog: int = BACKLOG, echo: int = 0) -> None:
        """Start steady load."""
        self.uploads.go(mix, backlog, echo)

    def pause(self, seconds: float) -> None:
        """Wait, and restart workers that end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.pool.tend()
            time.sleep(0.02)

    def until(self, happened: Callable[[], bool], what: str) -> None:
        """Wait until it is so; raises `TimeoutError` after ``PATIENCE_S``."""
        end = time.monotonic() + PATIENCE_S
        while not happened():
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: not within {PATIENCE_S:g} s")
            self.pause(0.05)

    def a_ready_worker(self) -> Worker:
        """A random worker that takes messages."""
        self.until(lambda: bool(self.pool.ready()), "a worker is ready")
        return self.random.choice(self.pool.ready())

    def some_uploads(self) -> None:
        """Wait until an upload has just been committed."""
        before = len(self.uploads.committed)
        self.until(lambda: len(self.uploads.committed) > before, "an upload is committed")

    def pending(self) -> int:
        """How many images have neither score nor reason."""
        with self.database.reading() as session:
            return images.count_images(session)["pending"]

    def drain(self) -> float:
        """Stop the load and wait until no image is pending or nothing changes; returns the seconds that it took."""
        self.uploads.halt()
        start = changed = time.monotonic()
        before = self.pending()
        while (now := self.pending()) and time.monotonic() < changed + STUCK_S:
            changed, before = (changed, now) if now == before else (time.monotonic(), now)
            self.pause(0.1)
        return time.monotonic() - start

    def look(self) -> Findings:
        """The problems in the record that the last check did not have."""
        before, self.found = self.found, record.look(self.database, self.uploads.committed, self.expected)
        return self.found.since(before)


@contextmanager
def world(
    kind: str, seed: int, folder: Path, workers: int, absence_s: float, unhurried: frozenset[str] = frozenset()
) -> Iterator[World]:
    """A world on "postgresql" or "sqlite", ready to be harmed; ``unhurried``: settings that stay as everybody's."""
    with ExitStack() as stack:
        pictures = draw(seed)
        pictures.store(folder / "media")
        expected = detector.make(folder / "chaos.safetensors", pictures.good, seed)
        server = Postgres(folder / "postgresql") if kind == "postgresql" else Sqlite(folder / "sqlite")
        stack.callback(server.close)
        broker = Broker(folder / "valkey")
        stack.callback(broker.close)
        host = stack.enter_context(photo_host(pictures))
        whole = _environment(server.url, broker.url, host.netloc, folder)
        environment = {name: value for name, value in whole.items() if name not in unhurried}
        _set_up(environment, folder / "chaos.safetensors")
        database = Database(server.url)
        stack.callback(database.close)
        uploads = Uploads(environment, folder / "uploads.log", seed)
        stack.callback(uploads.close)
        pool = Pool(environment, folder, workers)
        stack.callback(pool.destroy)
        yield World(
            random.Random(f"{seed} {kind}"),
            environment,
            server,
            database,
            broker,
            host,
            pool,
            uploads,
            expected,
            folder,
            absence_s,
        )


def _environment(database_url: str, broker_url: str, netloc: str, folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(_PLUG), str(_ROOT), os.environ.get("PYTHONPATH", "")])
    places = {
        "UNMASK_DATABASE_URL": database_url,
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_ALLOWED_HOSTS": netloc,
        "UNMASK_MEDIA_ROOT": str(folder / "media"),
        "UNMASK_MODELS_DIR": str(folder / "models"),
        "UNMASK_RUN_DIR": str(folder / "run"),
        "PYTHONPATH": path,
    }
    kept = {key: value for key, value in os.environ.items() if not key.startswith("UNMASK_")}
    return kept | SETTINGS | places


def _set_up(environment: Mapping[str, str], checkpoint: Path) -> None:
    for words in (
        ["db", "upgrade"],
        ["model", "register", str(checkpoint)],
        ["policy", "add", "strict", "--reason", "chaos"],
        ["threshold", "set", "--value", f"{THRESHOLD:g}", "--reason", "chaos"],
    ):
        unmask(environment, *words)


def unmask(environment: Mapping[str, str], *words: str) -> None:
    """Run a command as a person would; it must succeed."""
    command = [sys.executable, "-m", "worker", *words]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"unmask {' '.join(words)} ended with {done.returncode}: {done.stderr}")
