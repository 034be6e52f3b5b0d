"""What is measured: a worker behind its queue, and the bare loop. Each one is stopped while the other runs."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import text

from db.work import images
from tests.benchmarks.cost import Cost, cpu_s
from tests.benchmarks.stand import PATIENCE_S, Stand
from tests.chaos.workers import Worker
from worker.broker.sender import send
from worker.client import enqueue, new_image

#: Images in flight, in a closed loop; and in a batch.
IN_FLIGHT, BATCH = 32, 16
#: How often the record is asked what is done: each time costs a millisecond of the cores that are measured.
_POLL_S = 0.1

_PENDING = text("SELECT id FROM unmask.images WHERE id = ANY(:ids) AND state = 'pending'")
_INSERT = text("INSERT INTO unmask.images (id, account_id, url) VALUES (:id, 'bench', :url)")
_FAILED = text("SELECT count(*) FROM unmask.images WHERE state IN ('failed', 'unusable')")
#: By the record's own times: it was asked later, and may have been idle since.
_SINCE = text(
    "SELECT extract(epoch FROM max(changed_at) - CAST(:begun AS timestamptz)) FROM unmask.images WHERE id = ANY(:ids)"
)


class Uploads:
    """An upload flow: each photo a transaction of its own, as by `worker.client`."""

    def __init__(self, stand: Stand) -> None:
        self._database = stand.database
        self._urls = itertools.cycle(sorted(path.name for path in stand.photos.iterdir()))

    def one(self) -> str:
        """Upload the next photo; returns the image's id."""
        with self._database.writing() as session:
            return enqueue(session, account_id="bench", url=next(self._urls))

    def row(self) -> str:
        """Insert the next photo's row as another language would; returns the image's id."""
        image_id = str(uuid.uuid4())
        with self._database.writing() as session:
            session.execute(_INSERT, {"id": image_id, "url": next(self._urls)})
        return image_id

    def many(self, count: int, per_message: int = 1) -> set[str]:
        """Upload so many in one transaction; returns their ids."""
        new = [new_image(account_id="bench", url=next(self._urls)) for _ in range(count)]
        with self._database.writing() as session:
            ids = images.add_images(session, new, PATIENCE_S)
        for start in range(0, count, per_message):
            send(ids[start : start + per_message])
        return set(ids)

    def now(self) -> datetime:
        """By the record's clock."""
        with self._database.reading() as session:
            found: datetime = session.scalars(text("SELECT clock_timestamp()")).one()
        return found

    def seconds(self, ids: set[str], begun: datetime) -> float:
        """Until the last of these images had its score."""
        with self._database.reading() as session:
            return float(session.scalars(_SINCE, {"ids": list(ids), "begun": begun}).one())

    def pending(self, ids: set[str]) -> set[str]:
        """Those of the images that the record has no score of; raises RuntimeError when any has failed."""
        with self._database.reading() as session:
            found = set(session.scalars(_PENDING, {"ids": list(ids)}))
            if len(found) < len(ids) and session.scalar(_FAILED):
                raise RuntimeError("images failed: see the worker's log")
        return found

    def closed_loop(self, count: int) -> set[str]:
        """So many images, ``IN_FLIGHT`` of them at any time, until each has its score in SQL; returns their ids."""
        ids, waiting = set[str](), set[str]()
        end = time.monotonic() + PATIENCE_S
        while len(ids) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(waiting)} images wait, and {count - len(ids)} more, after {PATIENCE_S:g} s")
            new = {self.one() for _ in range(min(count - len(ids), IN_FLIGHT - len(waiting)))}
            ids |= new
            time.sleep(_POLL_S)
            waiting = self.pending(waiting | new)
        self.wait(waiting)
        return ids

    def wait(self, ids: set[str]) -> None:
        """Until each has its score in SQL."""
        end = time.monotonic() + PATIENCE_S
        while ids := self.pending(ids):
            if time.monotonic() > end:
                raise TimeoutError(f"{len(ids)} images wait for longer than {PATIENCE_S:g} s")
            time.sleep(_POLL_S)


class Ours:
    """A worker, from the upload to the score in SQL."""

    def __init__(self, worker: Worker, uploads: Uploads) -> None:
        self.pid = worker.process.pid
        self._uploads = uploads

    def cost(self, images: int) -> Cost:
        """Of so many images while they are uploaded; of processor time only the worker's own."""
        return self._cost(self._uploads.now(), lambda: self._uploads.closed_loop(images))

    def backlog(self, images: int) -> Cost:
        """Of so many images that are in line, one a message: what uploading takes of the same cores is over."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            ids = self._uploads.many(images)
            begun = self._uploads.now()
        finally:
            os.kill(self.pid, signal.SIGCONT)
        return self._cost(begun, lambda: ids)

    def _cost(self, begun: datetime, begin: Callable[[], set[str]]) -> Cost:
        before_s = cpu_s(self.pid)
        self._uploads.wait(ids := begin())
        return Cost(len(ids), self._uploads.seconds(ids, begun), cpu_s(self.pid) - before_s)


class Bare:
    """The process of `tests.benchmarks.bare`."""

    def __init__(self, pid: int, pipes: tuple[IO[str], IO[str]], photos: Path) -> None:
        self.pid = pid
        self._commands, self._answers = pipes
        self._paths = itertools.cycle(sorted(str(path) for path in photos.iterdir()))

    def cost(self, images: int, batch: int = BATCH) -> Cost:
        """Of so many images."""
        paths = list(itertools.islice(self._paths, images))
        self._commands.write(json.dumps({"paths": paths, "batch": batch}) + "\n")
        self._commands.flush()
        answer: dict[str, Any] = json.loads(self._answers.readline())
        return Cost(images, answer["seconds"], answer["cpu_s"])


@contextmanager
def bare(stand: Stand, engine: str, prefix: Sequence[str] = (), **environment: str) -> Iterator[Bare]:
    """The bare loop of that engine, which waits for commands; as `Stand.worker`."""
    command = [*prefix, sys.executable, "-m", "tests.benchmarks.bare", str(stand.checkpoint), engine]
    told = {**stand.environment, "OMP_WAIT_POLICY": "PASSIVE", **environment}  # which workers set themselves
    with subprocess.Popen(command, env=told, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Bare(process.pid, (process.stdin, process.stdout), stand.photos)
