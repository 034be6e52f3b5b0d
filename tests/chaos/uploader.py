"""An upload flow as a process of its own: it commits images and names each one; it may be killed at any moment.

Reads lines: ``{"mix": {kind: weight}, ...}`` makes it upload, ``halt`` makes it answer ``halted`` and wait.
Writes the id of each image whose commit returned, and ``took S``: how long the upload flow waited for that.
"""

import json
import os
import random
import select
import sys
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, MetaData, String, Table, insert
from sqlalchemy.orm import Session

from db.errors import DbError
from db.settings import DatabaseSettings
from db.store.session import Database
from db.work import images
from tests.chaos.kinds import Upload, url_of
from tests.chaos.pictures import COUNT
from worker.broker.sender import send
from worker.client import enqueue

#: As an application sees the table: no defaults of ours.
_IMAGES = Table("images", MetaData(), *(Column(name, String) for name in ("id", "account_id", "url", "policy")))
_ACCOUNTS = 20
_POLICIES = ("default", "strict")


@dataclass(frozen=True, slots=True)
class Task:
    """What is uploaded: kinds by weight, while fewer than ``backlog`` wait, each message ``echo`` times more."""

    mix: dict[str, int]
    backlog: int
    echo: int = 0


class Uploader:
    """Uploads one to four images a transaction: most through ``enqueue``, some as plain INSERTs."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._database = Database(DatabaseSettings.load().database_url)
        self._photos_url = f"http://{os.environ['UNMASK_ALLOWED_HOSTS']}"

    def upload(self, task: Task) -> None:
        """One transaction, unless enough images wait; an outage of the database is the caller's to see."""
        with self._database.reading() as session:
            waiting = images.count_images(session)["pending"]
        if waiting >= task.backlog:
            time.sleep(0.05)
            return
        new = [self._image(task.mix) for _ in range(self._random.randint(1, 4))]
        start = time.monotonic()
        with self._database.writing() as session:
            self._add(session, new)
        _say(*(image["id"] for image in new), f"took {time.monotonic() - start:.1f}")
        for _ in range(task.echo):
            send([image["id"] for image in new])

    def _image(self, mix: dict[str, int]) -> dict[str, Any]:
        kind = self._random.choices(list(mix), list(mix.values()))[0]
        image_id = Upload(kind, f"p{self._random.randrange(COUNT)}").new_id()
        return {
            "id": image_id,
            "account_id": f"account-{self._random.randrange(_ACCOUNTS)}",
            "url": url_of(image_id, self._photos_url),
            "policy": self._random.choice(_POLICIES),
        }

    def _add(self, session: Session, new: list[dict[str, Any]]) -> None:
        if self._random.random() < 0.2:
            session.execute(insert(_IMAGES), new)
            return
        for image in new:
            enqueue(session, image_id=image["id"], **{key: image[key] for key in ("account_id", "url", "policy")})


def main() -> None:
    """Run until standard input ends."""
    uploader, task = Uploader(int(sys.argv[1])), None
    with open(0, "rb", buffering=0) as orders:  # what a buffer holds, select does not see
        while True:
            if task is not None and not select.select([orders], [], [], 0)[0]:
                _try(uploader, task)
            elif line := orders.readline().strip():
                task = _task(line)
            else:
                return


def _task(line: bytes) -> Task | None:
    if line == b"halt":
        _say("halted")
        return None
    return Task(**json.loads(line))


def _try(uploader: Uploader, task: Task) -> None:
    try:
        uploader.upload(task)
    except DbError:
        time.sleep(0.2)


def _say(*lines: str) -> None:
    os.write(1, "".join(f"{line}\n" for line in lines).encode())  # at once, whole or not at all


if __name__ == "__main__":
    main()
