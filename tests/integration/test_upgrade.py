"""An upgrade without downtime: the schema moves under workers of the old version, and new ones start beside them."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from db.schema import Image
from db.store.session import Database, head
from db.work import images
from db.work.images import NewImage

PROJECT = Path(__file__).parents[2]
#: The version to come has one migration more, which adds, as the rules want it, and says that it will be served.
MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("images", sa.Column("shade", sa.String(16), server_default="grey"))
    op.execute(sa.text("INSERT INTO schema_support (revision) VALUES ('9999')"))


def downgrade():
    raise NotImplementedError
"""
PATIENCE_S = 300

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture
def environment(
    database_url: str, broker_url: str, photo: Path, tiny_checkpoint: Path, tmp_path: Path
) -> dict[str, str]:
    """An installation of the old version, with a model."""
    (tmp_path / "media").mkdir()
    shutil.copy(photo, tmp_path / "media" / "a.jpg")
    found = os.environ | {
        "UNMASK_DATABASE_URL": database_url,
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MODELS_DIR": str(tmp_path / "models"),
        "UNMASK_MEDIA_ROOT": str(tmp_path / "media"),
        "UNMASK_RUN_DIR": str(tmp_path / "run"),
        "UNMASK_DEVICE": "cpu",
        "UNMASK_ENGINE": "eager",
    }
    unmask(PROJECT, found, "db", "upgrade")
    unmask(PROJECT, found, "model", "register", str(tiny_checkpoint))
    return found


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The version to come: this software, and a migration."""
    folder = tmp_path / "newer"
    shutil.copytree(PROJECT / "db", folder / "db")
    for room in ("trainer", "worker"):
        (folder / room).symlink_to(PROJECT / room)
    (folder / "db" / "migrations" / "versions" / "9999_to_come.py").write_text(MIGRATION.format(head=head()))
    return folder


def test_old_and_new_workers_run_side_by_side_while_the_schema_is_upgraded_under_them(
    environment: dict[str, str], newer: Path, tmp_path: Path
) -> None:
    log = tmp_path / "workers.log"
    uploads = Uploads(Database(environment["UNMASK_DATABASE_URL"]), log)
    assert "schema " + head() in refused(newer, environment), "a new worker must not run on the old schema"
    with worker(PROJECT, environment, log):
        uploads.until(lambda: uploads.scored() > 0)
        unmask(newer, environment, "db", "upgrade")
        seen = uploads.scored()
        uploads.until(lambda: uploads.scored() > seen + 5)  # the old one goes on
        new = tmp_path / "new.log"
        with worker(newer, environment, new):
            uploads.until(lambda: has_scored(new))
            late = tmp_path / "late.log"
            with worker(PROJECT, environment, late):  # an old one that starts now is served, too: the way back
                uploads.until(lambda: has_scored(late))
            uploads.until(uploads.drained, pause_s=None)
    assert uploads.states() == {"scored": uploads.made}


class Uploads:
    """Photos that come in for as long as somebody waits for something."""

    def __init__(self, database: Database, log: Path) -> None:
        self.database = database
        self.log = log
        self.made = 0

    def until(self, done: Callable[[], bool], pause_s: float | None = 0.1) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            if pause_s is not None:
                with self.database.writing() as session:
                    images.add_images(session, [NewImage(f"i{self.made}", f"a{self.made}", "a.jpg")], -1)
                self.made += 1
            time.sleep(pause_s or 0.5)

    def scored(self) -> int:
        return self.states().get("scored", 0)

    def drained(self) -> bool:
        return "pending" not in self.states()

    def states(self) -> dict[str, int]:
        with self.database.reading() as session:
            found = session.execute(select(Image.state, func.count()).group_by(Image.state))
            return {state: count for state, count in found if count}


def has_scored(log: Path) -> bool:
    """Whether the worker that writes this log has scored an image."""
    return "image scored" in log.read_text()


def unmask(software: Path, environment: dict[str, str], *words: str) -> None:
    """A command of a version of the software."""
    env = at(software, environment)
    done = subprocess.run(command(*words), cwd=software, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def refused(software: Path, environment: dict[str, str]) -> str:
    """What a worker says that does not start."""
    done = subprocess.run(
        command("worker"),
        cwd=software,
        env=at(software, environment),
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    return done.stderr


@contextmanager
def worker(software: Path, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of a version of the software, which ends in good order."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            command("worker", "--concurrency", "2"),
            cwd=software,
            env=at(software, environment),
            stdout=file,
            stderr=file,
        )
    try:
        yield process
        process.terminate()
        assert process.wait(timeout=PATIENCE_S) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "worker", *words]


def at(software: Path, environment: dict[str, str]) -> dict[str, str]:
    return environment | {"PYTHONPATH": str(software)}
