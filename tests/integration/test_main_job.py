"""The main job on real parts: Valkey, PostgreSQL or SQLite, a real worker process and the shipped checkpoint."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from db.schema import Case, Flag, Image, Score
from db.store.session import Database
from db.work import images
from trainer.detector.checkpoint import SHIPPED

pytestmark = pytest.mark.main_job

#: Loading torch and a model on a busy machine takes its time.
PATIENCE_S = 150


@pytest.fixture
def environment(database: Database, database_url: str, broker_url: str, tmp_path: Path) -> dict[str, str]:  # noqa: ARG001
    """What an operator would set; a migrated database with the shipped model registered."""
    environment = os.environ | {
        "UNMASK_DATABASE_URL": database_url,
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MODELS_DIR": str(tmp_path / "models"),
        "UNMASK_MEDIA_ROOT": str(tmp_path / "media"),
        "UNMASK_ACTOR": "pat",
    }
    (tmp_path / "media").mkdir()
    unmask(environment, "model", "register", str(SHIPPED))
    return environment


def unmask(environment: dict[str, str], *words: str) -> str:
    """Run a command as a person would; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "worker", *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def worker(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process; stopped by SIGTERM, which it must obey with exit status 0."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "worker"], env=environment, stdout=file, stderr=file
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, log.read_text()[-2000:]
    finally:
        process.kill()


def wait_until(done: Callable[[], bool], log: Path) -> None:
    """Until it is so; fails with the worker's last words when it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.1)


def drained(database: Database) -> bool:
    with database.reading() as session:
        return images.count_images(session)["pending"] == 0


@pytest.mark.fast
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_real_and_ai_faces_are_scored_once_each_and_flagged_by_threshold(
    environment: dict[str, str], database: Database, guarded: Callable[[str], str], shared_data: Path, tmp_path: Path
) -> None:
    """As a user who can do no more on Redis, with a password that stands in a file."""
    faces = some_faces(shared_data, 8)
    environment["UNMASK_MEDIA_ROOT"] = str(shared_data)
    del environment["UNMASK_BROKER_URL"]
    environment["UNMASK_BROKER_URL_FILE"] = str(tmp_path / "broker")
    (tmp_path / "broker").write_text(guarded("unmask_worker"))
    unmask(environment, "threshold", "set", "--value", "0.5", "--max-fpr", "0.2", "--reason", "a test")
    manifest = tmp_path / "uploads.csv"
    write_uploads(manifest, faces)
    log = tmp_path / "worker.log"

    with worker(environment, log) as process:
        unmask(environment, "enqueue", "--manifest", str(manifest))
        wait_until(lambda: drained(database), log)
        unmask(environment, "enqueue", "--manifest", str(manifest))  # the same again adds nothing
        assert "s3cret" not in command_lines(process.pid)
    assert "s3cret" not in log.read_text()

    alone = json.loads(unmask(environment, "score", "--json", *[str(shared_data / path) for path in faces]))
    expected = {path: row["score"] for path, row in zip(faces, alone, strict=True)}
    with database.reading() as session:
        scores = {row.image_id: row.score for row in session.scalars(select(Score))}
        flagged = set(session.scalars(select(Flag.image_id)))
        assert session.scalar(select(func.count(Score.id))) == len(faces)
        assert session.scalar(select(func.count(Case.id))) == len(flagged)
        assert session.scalar(select(func.count(Image.id)).where(Image.attempts != 1)) == 0
    assert scores == pytest.approx(expected, abs=1e-4)
    assert flagged == {path for path, score in scores.items() if score >= 0.5}
    assert max(scores.values()) > 0.5 > min(scores.values()), "the shipped model tells none of these faces apart"


@pytest.mark.parametrize(
    "database_url", [pytest.param("sqlite", marks=pytest.mark.fast), pytest.param("postgresql")], indirect=True
)
def test_bad_images_fail_alone_with_their_reasons_and_a_plain_insert_is_scored(
    environment: dict[str, str], database: Database, photo: Path, tmp_path: Path
) -> None:
    media = Path(environment["UNMASK_MEDIA_ROOT"])
    whole = photo.read_bytes()
    (media / "good.jpg").write_bytes(whole)
    (media / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (media / "page.jpg").write_text("<!doctype html>")
    urls = ["good.jpg", "half.jpg", "page.jpg", "gone.jpg", "../good.jpg", "http://169.254.169.254/latest"]
    log = tmp_path / "worker.log"
    insert = text("INSERT INTO images (id, account_id, url, policy) VALUES (:id, :account, :url, 'default')")
    with database.writing() as session:
        session.execute(insert, [{"id": f"i{n}", "account": f"a{n}", "url": url} for n, url in enumerate(urls)])

    with worker(environment, log):
        wait_until(lambda: drained(database), log)

    with database.reading() as session:
        found = {row.url: (row.state, row.reason) for row in session.scalars(select(Image))}
        assert session.scalar(select(func.count(Score.id))) == 1
    assert found == {
        "good.jpg": ("scored", None),
        "half.jpg": ("unusable", "truncated"),
        "page.jpg": ("unusable", "not_an_image"),
        "gone.jpg": ("failed", "not_found"),
        "../good.jpg": ("failed", "path_not_allowed"),
        "http://169.254.169.254/latest": ("failed", "host_not_allowed"),
    }
    given_up = [row for state in ("failed", "unusable") for row in failures_of(environment, state)]
    assert {row["image"] for row in given_up} == {f"i{n}" for n in range(1, len(urls))}


def failures_of(environment: dict[str, str], state: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(unmask(environment, "failures", "list", "--state", state, "--json"))
    return found


def command_lines(process: int) -> str:
    """What everybody on the machine can read of a process and those that it started."""
    command = ["/bin/ps", "-o", "args=", "--pid", str(process), "--ppid", str(process)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "worker" in done.stdout
    return done.stdout


def some_faces(shared_data: Path, each: int) -> list[str]:
    """Held-out faces: as many real as AI-generated ones."""
    with (shared_data / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "eval"]
    return [row["path"] for label in ("real", "fake") for row in [r for r in rows if r["label"] == label][:each]]


def write_uploads(path: Path, faces: list[str]) -> None:
    rows: list[dict[str, Any]] = [{"image_id": face, "account_id": f"account of {face}", "url": face} for face in faces]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image_id", "account_id", "url"])
        writer.writeheader()
        writer.writerows(rows)
