"""What one worker process holds: lease → fetch → decode → score → record, each a batch at a time where that pays."""

import hashlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from db.work import images
from db.errors import DatabaseAwayError, DatabaseError
from db.work.images import Failure, Job, NewImage
from db.policy.scores import Scored
from db.store.session import Database
from trainer.distributed.cores import cores
from trainer.errors import Rejected
from trainer.pixels.preprocess import Picture, decode
from worker.inference import domain
from worker.photos import looks
from worker.pipeline import verdict
from worker.core.batcher import Batcher
from worker.core.errors import FetchError, StoppingError, WorkerError
from worker.photos.fetch import Fetcher
from worker.photos.isolation import Isolation
from worker.photos.looks import looks_of
from worker.inference.models import Models
from worker.core.outage import Outage
from worker.pipeline.outcome import Done, Ended, record_done
from worker.core.settings import WorkerSettings
from worker.pipeline.stages import Stages
from worker.pipeline.tally import Tally

log = logging.getLogger(__name__)

#: Rows in one transaction.
_SQL_BATCH = 500
#: While others are in hand, what comes is taken together, and what ended is recorded together: one by one, leases cost
#: 0.5 ms of a processor more, an image.
_GATHER_S = 0.01


class Service:
    """Scores images by id. Safe to call from many threads: what they have in hand at once shares batches.

    ``broken(why)`` is called when the model's device can be used no more.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        database: Database,
        models: Models,
        broken: Callable[[str], None] = log.critical,
    ) -> None:
        self.settings = settings
        self.database = database
        self.models = models
        self.owner = new_owner()
        self.fetcher = Fetcher(settings)
        self.isolation = Isolation(settings)
        self._given_up = threading.Event()
        self.outage = Outage(self._given_up)
        self._broken = broken
        self._held: set[str] = set()
        self._begun: set[str] = set()
        self._suspects: set[str] = set()
        self._moved = False
        self._looks = looks.available()
        self._tally = Tally(settings.log_images_per_s)
        models.broken = self._break
        self._leases: Batcher[str, Job | None] = Batcher("lease", self._take, _SQL_BATCH, _GATHER_S)
        self._scores = Batcher("score", models.score, settings.max_batch, settings.max_wait_s)
        self._records: Batcher[Ended, None] = Batcher("record", self._record, _SQL_BATCH, _GATHER_S)
        self._decoding = threading.Semaphore(decodes_at_once(models.pair.active.scorer.device.type, cores()))
        self._decodes: dict[int, float] = {}
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="image")

    @classmethod
    def open(cls, settings: WorkerSettings, broken: Callable[[str], None] = log.critical) -> Self:
        """Connect, check the schema, load the models and try them; raises a room's error when that cannot be."""
        database = Database(settings.database_url)
        database.check_schema()
        return cls(settings, database, Models.open(settings, database), broken)

    def add(self, image: NewImage) -> None:
        """Enter an image that came by message; raises `ConflictError` as `db.work.images.add` does."""

        def write(_tries: int) -> None:
            with self.database.writing() as session:
                images.add(session, [image], self.settings.resend_s)

        self.outage.outlast(write)

    def score(self, image_ids: Sequence[str]) -> None:
        """Give each of these images its score, or its reason, in SQL; those that are not pending are left alone.

        Returns when every one is recorded, however long the database is away; raises when the record refuses one, or
        `StoppingError` when this worker gave up.
        """
        try:
            self._score([self._leases.submit(image_id) for image_id in image_ids])
        except Exception:
            if not self._given_up.is_set():  # else they are given back
                self._drop(image_ids)  # or they would never be begun here again
            raise

    def _score(self, leased: Sequence[Future[Job | None]]) -> None:
        jobs = [job for future in leased if (job := future.result()) is not None]
        tries = [(job, Stages(job.age_s, job.waited_s)) for job in jobs]
        recorded = self._pool.map(self._finish, tries) if len(jobs) > 1 else map(self._finish, tries)
        for (job, stages), future in zip(tries, recorded, strict=True):
            self._settle(job, stages, future)

    def let_go(self, *, lost: bool = False) -> None:
        """Wait for nothing more, and give what is in hand to other workers; ``lost``: as if this one had died of it."""
        self._given_up.set()
        with self.database.writing() as session:
            images.release(session, list(self._held), self.owner, lost=lost)

    def renew(self) -> None:
        """Keep what others would take for lost: what is not begun, and suspects in line for their decoder.

        That decoder's limits end it. What else was begun has its lease to end; and where nothing has come to an end
        since the last time, others may well take what is not begun.
        """
        moved, self._moved = self._moved, False
        kept = self._suspects | (self._held - self._begun if moved else set())
        if kept and not self._given_up.is_set():
            with self.database.writing() as session:
                images.renew(session, kept, self.owner, self.settings.lease_s)

    def watch(self) -> None:
        """End this worker where a decode hangs: others wait behind it, and the loop that says it lives goes round.

        The picture goes on as a suspect, to a child that may be killed.
        """
        limit_s, now = self.settings.decoder_timeout_s, time.monotonic()
        if any(now - since > limit_s for since in list(self._decodes.values())):
            self._break(f"a decode took longer than {limit_s:g} s")

    @property
    def busy(self) -> bool:
        """Whether any image is in hand."""
        return bool(self._held)

    @property
    def in_hand(self) -> int:
        """How many images are."""
        return len(self._held)

    def close(self) -> None:
        """Finish what is in hand, and let go of everything."""
        self.models.stop()
        self._pool.shutdown()
        for batcher in (self._leases, self._scores, self._records):
            batcher.close()
        self.isolation.close()
        self.database.close()

    def _take(self, image_ids: list[str]) -> list[Job | None]:
        """Lease a batch. An id that came twice is given out once."""
        if self._given_up.is_set():
            raise StoppingError("this worker takes nothing more in hand")
        if not self.models.taking:  # the rows wait, and are sent again
            return [None] * len(image_ids)
        wanted = set(image_ids) - self._held  # what outlasts its lease here is not begun here again
        taken = {job.image_id: job for job in self.outage.outlast(lambda tries: self._lease(wanted, again=tries > 0))}
        return [taken.pop(image_id, None) for image_id in image_ids]

    def _lease(self, image_ids: set[str], *, again: bool) -> list[Job]:
        settings = self.settings
        with self.database.writing() as session:
            if again:  # the last time may have been committed, and only the answer lost
                images.release(session, image_ids - self._held, self.owner)
            jobs = images.lease(session, image_ids, self.owner, settings.lease_s, settings.retry_deadline_s)
        self._held |= {job.image_id for job in jobs}
        return jobs

    def _finish(self, begun: tuple[Job, Stages]) -> Future[None]:
        """To the record at once: a neighbour in the same message may take its time."""
        with self._records.coming():
            return self._records.submit(self._end(*begun))

    def _end(self, job: Job, stages: Stages) -> Ended:
        """One image's fate; whatever happens to it happens to nobody else."""
        stages.start()
        self._begun.add(job.image_id)
        try:
            with self._leases.coming():  # what has its place next
                return Ended(job, self._scored(job, stages), stages)
        except StoppingError:
            raise
        except Exception as error:  # noqa: BLE001 - the log has it, with the image's line
            bug = None if isinstance(error, Rejected | WorkerError) else error
            return Ended(job, verdict.failure(job, error, self.settings), stages, bug)

    def _scored(self, job: Job, stages: Stages) -> Done:
        with self._scores.coming():
            data, picture = self._picture(job, stages)
            future = self._scores.submit(picture.pixels)
        with stages.timed("forward"):
            said = future.result()
        scored = Scored(
            image_id=job.image_id,
            policy=job.policy,
            score=said.score,
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            width=picture.width,
            height=picture.height,
            beside=said.beside,
            looks=self._looks_of(picture, said.score),
        )
        return Done(scored, said.pair)

    def _looks_of(self, picture: Picture, score: float) -> bytes | None:
        if not self._looks:
            return b""
        return looks_of(picture.pixels) if score >= self.models.flags_from else None

    def _picture(self, job: Job, stages: Stages) -> tuple[bytes, Picture]:
        if job.url is None:
            raise FetchError("erased", "its account was erased")
        with stages.timed("fetch"):
            data = self.fetcher.fetch(job.url)
        suspect = job.losses > 0  # a worker was lost while it had this one in hand
        with stages.timed("decode"):
            picture = self._decode_alone(job.image_id, data) if suspect else self._decode(data)
        domain.check(picture, self.models.pair.active.scorer.card, self.settings.min_side)
        return data, picture

    def _decode(self, data: bytes) -> Picture:
        with self._decoding:
            me = threading.get_ident()
            self._decodes[me] = time.monotonic()
            try:
                return decode(data)
            finally:
                del self._decodes[me]

    def _decode_alone(self, image_id: str, data: bytes) -> Picture:
        self._suspects.add(image_id)
        try:
            return self.isolation.decode(data)
        finally:
            self._suspects.discard(image_id)

    def _record(self, batch: list[Ended]) -> list[None]:
        """One transaction for a batch."""
        results = [ended.result for ended in batch]

        def write(_tries: int) -> None:
            with self.database.writing() as session:
                record_done(session, [item for item in results if isinstance(item, Done)])
                images.put_back(session, [item for item in results if isinstance(item, Failure)], self.owner)

        self.outage.outlast(write)
        self._moved = True
        self._drop([ended.job.image_id for ended in batch])
        self._tally.add(batch)
        return [None] * len(batch)

    def _settle(self, job: Job, stages: Stages, recorded: Future[None]) -> None:
        """Wait for the record; what it refuses (a row that is gone, say) is one image's failure."""
        try:
            recorded.result()
        except DatabaseAwayError:
            raise
        except DatabaseError as error:
            ended = Ended(job, verdict.failure(job, error, self.settings), stages, error)
            self._records.submit(ended).result()

    def _drop(self, image_ids: Collection[str]) -> None:
        self._held.difference_update(image_ids)
        self._begun.difference_update(image_ids)

    def _break(self, why: str) -> None:
        self._given_up.set()
        self._broken(why)


def decodes_at_once(device: str, cores: int) -> int:
    """As many as this process has cores; half of them where the forward pass needs the cores as well.

    On two of them, with a tiny network, one decode at once and records together made 1.16-1.24 × the images a second of
    32 at once and records one by one, for 2 ms less of a processor each: threads wait for a turn, not for each other.
    """
    return max(1, cores // 2) if device == "cpu" else cores


def new_owner() -> str:
    """A name that no other process has or will have: containers use process ids again."""
    return f"{socket.gethostname()[:80]}:{os.getpid()}:{secrets.token_hex(4)}"
