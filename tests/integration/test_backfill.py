"""``unmask enqueue --manifest`` with many rows, killed in the middle and started again."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import func, select

from db.schema import Image
from db.store.session import Database
from db.work import outbox
from db.work.outbox import Lane, ResendBackoff

ROWS = 20_000
PATIENCE_S = 120


@pytest.fixture
def command(postgres_url: str, broker_url: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A backfill that runs."""
    lines = [f"account-{n // 2},{n}.jpg,image-{n}\n" for n in range(ROWS)]
    (tmp_path / "photos.csv").write_text("account_id,url,image_id\n" + "".join(lines))
    database = Database(postgres_url)
    database.upgrade()
    database.close()
    with start(postgres_url, broker_url, tmp_path) as process:
        yield process
        process.kill()


def start(postgres_url: str, broker_url: str, folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"UNMASK_DATABASE_URL": postgres_url, "UNMASK_BROKER_URL": broker_url}
    words = ["enqueue", "--manifest", str(folder / "photos.csv")]
    return subprocess.Popen(
        [sys.executable, "-m", "worker", *words], env=environment, stderr=subprocess.PIPE, text=True
    )


def count(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(Image)) or 0


def in_messages(broker_url: str) -> list[str]:
    with Redis.from_url(broker_url) as client:
        messages = [json.loads(message) for message in client.lrange("unmask:unmask", 0, -1)]
    return [image_id for message in messages for image_id in json.loads(base64.b64decode(message["body"]))[0][0]]


def test_a_backfill_that_is_killed_goes_on_when_started_again_and_doubles_nothing(
    command: subprocess.Popen[str], postgres_url: str, broker_url: str, tmp_path: Path
) -> None:
    database = Database(postgres_url)
    end = time.monotonic() + PATIENCE_S
    while not count(database):
        assert command.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    command.kill()
    command.wait()
    before = count(database)
    assert before < ROWS
    with start(postgres_url, broker_url, tmp_path) as again:
        _, said = again.communicate()
    assert again.returncode == 0
    assert said == f"{ROWS - before} images enqueued, {before} were known before\n"
    assert count(database) == ROWS
    sent = in_messages(broker_url)
    assert len(sent) == len(set(sent))
    with database.writing() as session:  # what was committed and not sent comes due
        session.connection().exec_driver_sql("UPDATE images SET next_attempt_at = now()")
        assert {i for lane in Lane for i in outbox.take_due_images(session, lane, ROWS, ResendBackoff(60, 60)).ids} >= {
            f"image-{n}" for n in range(ROWS)
        } - set(sent)
    database.close()
