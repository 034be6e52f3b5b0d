"""Who is measured: a worker behind its queue, and the bare loop. Both wait, and cost nothing, while the other runs."""

import itertools
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sqlalchemy import text

from tests.benchmarks.cost import Cost, cpu_s
from tests.benchmarks.stand import PATIENCE_S, Stand
from tests.chaos.workers import Worker
from worker.client import enqueue

#: Images in flight, in a closed loop; and in a batch.
IN_FLIGHT, BATCH = 32, 16
#: How often the record is asked what is done: each time costs a millisecond of the cores that are measured.
_POLL_S = 0.03

_PENDING = text("SELECT id FROM images WHERE id = ANY(:ids) AND state = 'pending'")
_INSERT = text("INSERT INTO images (id, account_id, url) VALUES (:id, 'bench', :url)")
_FAILED = text("SELECT count(*) FROM images WHERE state = 'failed'")


class Uploads:
    """An upload flow: each photo a transaction and a message of its own, as `worker.client` sends it."""

    def __init__(self, stand: Stand) -> None:
        self._database = stand.database
        self._urls = itertools.cycle(sorted(path.name for path in stand.photos.iterdir()))

    def one(self) -> str:
        """Upload the next photo; returns the image's id."""
        with self._database.writing() as session:
            return enqueue(session, account_id="bench", url=next(self._urls))

    def row(self) -> str:
        """Insert the next photo's row, and send no message; returns the image's id."""
        image_id = str(uuid.uuid4())
        with self._database.writing() as session:
            session.execute(_INSERT, {"id": image_id, "url": next(self._urls)})
        return image_id

    def pending(self, ids: set[str]) -> set[str]:
        """Those of the images that the record has no score of; raises RuntimeError when any has failed."""
        with self._database.reading() as session:
            found = set(session.scalars(_PENDING, {"ids": list(ids)}))
            if len(found) < len(ids) and session.scalar(_FAILED):
                raise RuntimeError("images failed: see the worker's log")
        return found

    def closed_loop(self, count: int) -> None:
        """So many images, ``IN_FLIGHT`` of them at any time, until each has its score in SQL."""
        end = time.monotonic() + PATIENCE_S
        sent, waiting = 0, set[str]()
        while sent < count or waiting:
            while sent < count and len(waiting) < IN_FLIGHT:
                waiting.add(self.one())
                sent += 1
            time.sleep(_POLL_S)
            waiting = self.pending(waiting)
            if time.monotonic() > end:
                raise TimeoutError(f"{len(waiting)} images wait for longer than {PATIENCE_S:g} s")


class Ours:
    """A worker, from the upload to the score in SQL."""

    def __init__(self, worker: Worker, uploads: Uploads) -> None:
        self.pid = worker.process.pid
        self._uploads = uploads

    def cost(self, images: int) -> Cost:
        """Of so many images; of processor time only the worker's own."""
        start, before_s = time.perf_counter(), cpu_s(self.pid)
        self._uploads.closed_loop(images)
        return Cost(images, time.perf_counter() - start, cpu_s(self.pid) - before_s)


class Bare:
    """The process of `tests.benchmarks.bare`."""

    def __init__(self, pipes: tuple[IO[str], IO[str]], photos: Path) -> None:
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
def bare(stand: Stand, engine: str, **environment: str) -> Iterator[Bare]:
    """The bare loop of that engine, which waits for commands; as `Stand.worker`."""
    command = [sys.executable, "-m", "tests.benchmarks.bare", str(stand.checkpoint), engine]
    told = {**stand.environment, "OMP_WAIT_POLICY": "PASSIVE", **environment}  # which workers set themselves
    with subprocess.Popen(command, env=told, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Bare((process.stdin, process.stdout), stand.photos)
