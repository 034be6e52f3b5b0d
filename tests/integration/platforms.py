"""A platform for stories: a database, workers, commands, and photos that come in."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from db.schema import Case, Flag, Image, PerceptualHash, Score
from db.schema.clock import moment
from db.store.session import Database
from db.work import images
from db.work.images import NewImage

#: Loading torch on a busy machine takes its time.
PATIENCE_S = 300
#: Photos that a platform's uploads take in turn, as ``0.jpg`` and so on.
PHOTOS = 12


class Platform:
    """What a trust & safety team has: a database, workers, commands, and photos that come in."""

    def __init__(self, database: Database, environment: dict[str, str], folder: Path) -> None:
        self.database = database
        self.environment = environment
        self.folder = folder
        self.log = folder / "worker.log"
        self.uploaded = 0

    def unmask(self, *words: str, status: int = 0) -> Any:
        """A command's JSON."""
        command = [sys.executable, "-m", "worker", *words, "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    @contextmanager
    def worker(self, end: signal.Signals = signal.SIGTERM) -> Iterator[subprocess.Popen[bytes]]:
        """A worker process, ended by a signal."""
        command = [sys.executable, "-m", "worker", "worker"]
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        try:
            yield process
            process.send_signal(end)
            process.wait(timeout=PATIENCE_S)
        finally:
            process.kill()

    @contextmanager
    def uploads(self, pause_s: float = 0.1) -> Iterator[None]:
        """Photos come in all the time, each of another account."""
        stopped = threading.Event()
        thread = threading.Thread(target=self._upload_until, args=[stopped, pause_s], daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def upload(self) -> str:
        """One photo."""
        name = f"i{self.uploaded:05}"
        url = f"{self.uploaded % PHOTOS}.jpg"
        self.uploaded += 1
        with self.database.writing() as session:
            images.add_images(session, [NewImage(name, name, url)], -1)
        return name

    def until(self, done: Callable[[], bool]) -> None:
        """Fails with the worker's last words when it takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.2)

    def drained(self) -> bool:
        with self.database.reading() as session:
            return images.count_images(session)["pending"] == 0

    def scores(self, version_id: int) -> dict[str, float]:
        with self.database.reading() as session:
            statement = select(Score.image_id, Score.score).where(Score.version_id == version_id)
            return dict(session.execute(statement).all())

    def flagged(self) -> set[str]:
        with self.database.reading() as session:
            return set(session.scalars(select(Flag.image_id).join(Case).where(Case.state == "open")))

    def hashed(self) -> set[str]:
        with self.database.reading() as session:
            return set(session.scalars(select(PerceptualHash.image_id)))

    def now(self) -> datetime:
        with self.database.reading() as session:
            found: datetime = session.execute(select(moment())).scalar_one()
            return found

    def uploaded_between(self, start: datetime, end: datetime) -> set[str]:
        with self.database.reading() as session:
            return set(session.scalars(select(Image.id).where(Image.created_at > start, Image.created_at < end)))

    def _upload_until(self, stopped: threading.Event, pause_s: float) -> None:
        while not stopped.wait(pause_s):
            self.upload()
