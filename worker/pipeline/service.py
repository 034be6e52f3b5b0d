"""What one worker process does with images: lease → fetch → decode → score → record, in batches where that pays.

Five kinds of threads share the work; a `Batcher` each serves the lease, the score and the record thread:

    Celery thread          lease thread       image threads (pool)     score thread         record thread
    score(ids) ──ids─────▶ _lease_batch
      ◀──────────jobs───── one transaction
    _process ────job────────────────────────▶ _process_one
                                              fetch, decode, gate ───▶ ModelServer.score
                                              inspect the metadata
                                              ◀─────────────scores──── one forward pass
                                              AttemptResult ──────────────────────────────▶ _record_batch
    return: Celery acks ◀────────────────────────────────────────────────────────────────── one transaction

A message with a single image is processed in its Celery thread.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from sqlalchemy.orm import Session

from db.errors import DatabaseError, DatabaseUnavailableError
from db.policy.scores import Scored
from db.stats.hash_fraction import hash_fraction
from db.store.session import Database
from db.work import images, uploads
from db.work.images import LeasedImage, NewImage
from trainer.distributed.process import cores
from trainer.errors import Rejected
from trainer.pixels.avif_header import is_avif
from trainer.pixels.preprocess import Picture, Pixels
from worker.core.batcher import Batcher
from worker.core.errors import FetchError, StoppingError, WorkerError
from worker.core.outage import RetryUntilUp
from worker.core.settings import WorkerSettings
from worker.inference.model_server import ActivePair, LoadedModel, ModelServer
from worker.inference.scorer import check_domain
from worker.photos import phash
from worker.photos.fetcher import Fetcher, upload_reader
from worker.photos.file_signals import SignalReader
from worker.photos.sandbox import Sandbox
from worker.pipeline import retry_policy
from worker.pipeline.accounting import ImageAccounting
from worker.pipeline.attempt import AttemptResult, Stopwatch, record_attempts
from worker.pipeline.bounded_decoder import BoundedDecoder, decodes_at_once
from worker.pipeline.held_images import HeldImages
from worker.pipeline.redelivery import RedeliveryScorer
from worker.pipeline.refused import Refused

log = logging.getLogger(__name__)
#: Rows in one transaction.
_SQL_BATCH = 500
#: A busy worker's leases and records wait this long for company: one by one, a lease costs 0.5 ms of a processor more.
_GATHER_S = 0.01


class Service:
    """Scores images by id. Safe to call from many threads: the images that they process at once share batches.

    ``on_broken(why)`` is called when the model's device can be used no more.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        database: Database,
        models: ModelServer,
        on_broken: Callable[[str], None] = log.critical,
    ) -> None:
        self.settings = settings
        self.database = database
        self.models = models
        self.held = HeldImages(settings, database)
        self.sandbox = Sandbox(settings)
        self._given_up = threading.Event()
        self.retry_until_up = RetryUntilUp(self._given_up)
        read_upload = upload_reader(database)
        self.fetcher = Fetcher(settings, lambda url: self.retry_until_up(lambda _tries: read_upload(url)))
        self._signals = SignalReader(settings)
        self._on_broken = on_broken
        self._hashes = phash.available()
        self._keeps_projections = settings.projection_share > 0 or settings.projection_sample > 0
        self._accounting = ImageAccounting(settings.log_images_per_s)
        models.on_broken = self._break
        self._leases: Batcher[str, LeasedImage | None] = Batcher("lease", self._lease_batch, _SQL_BATCH, _GATHER_S)
        in_flight = models.pair.active.scorer.in_flight
        self._scores = Batcher("score", models.read, settings.max_batch, settings.max_wait_s, in_flight)
        self._redelivery = RedeliveryScorer(models, self._scores)
        self._records: Batcher[AttemptResult, None] = Batcher("record", self._record_batch, _SQL_BATCH, _GATHER_S)
        limit = decodes_at_once(models.pair.active.scorer.device.type, cores())
        self._decoder = BoundedDecoder(limit, settings.decoder_timeout_s)
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="image")

    @classmethod
    def open(cls, settings: WorkerSettings, on_broken: Callable[[str], None] = log.critical) -> Self:
        """Connect, check the schema, load and test the models; raises the failing room's error."""
        database = Database.of(settings)
        database.check_schema()
        return cls(settings, database, ModelServer.open(settings, database), on_broken)

    def add(self, image: NewImage) -> None:
        """Insert an image that came by message; raises `ConflictError` as `db.work.images.add_images` does."""
        self._write(lambda session: images.add_images(session, [image], self.settings.resend_s))

    def score(self, image_ids: Sequence[str]) -> None:
        """Record a score or a reason for each of these images in SQL; those that are not pending are left alone.

        Returns when every image is recorded, however long the database is unreachable. Raises `DatabaseError` when the
        database refuses a lease or a record, after all others are recorded; and `StoppingError` when this worker gave
        up.
        """
        try:
            self._process([self._leases.submit(image_id) for image_id in image_ids])
        except Exception:
            if not self._given_up.is_set():  # else their leases are released
                self.held.let_go(image_ids)
            raise

    def release_leases(self, *, lost: bool = False) -> None:
        """Stop waiting and give this worker's images to others; ``lost``: count it as a worker lost with them."""
        self._given_up.set()
        self.held.release_all(lost=lost)

    def renew_leases(self) -> None:
        """Renew the leases that `HeldImages.renew` says, unless they were given up."""
        if not self._given_up.is_set():
            self.held.renew()

    def check_decodes(self) -> None:
        """End this worker when a decode hangs: others wait behind it, while the health file's loop goes on.

        The picture goes to another worker as a suspect, to be decoded in a sandbox that may be killed.
        """
        if self._decoder.hangs():
            self._break(f"a decode took longer than {self.settings.decoder_timeout_s:g} s")

    @property
    def in_hand(self) -> int:
        """The number of images that this worker has leased and not yet recorded."""
        return len(self.held.ids)

    def close(self) -> None:
        """Finish the leased images, then release every resource."""
        self.models.stop()
        self._pool.shutdown()
        for batcher in (self._leases, self._scores, self._records):
            batcher.close()
        self.sandbox.close()
        self._signals.close()
        self.database.close()

    def _lease_batch(self, image_ids: list[str]) -> list[LeasedImage | None]:
        """Lease a batch; None for an image that is not ours to process. An id that occurs twice is leased once."""
        if self._given_up.is_set():
            raise StoppingError("this worker is stopping and leases no more images")
        if not self.models.accepting:  # the rows stay pending, and the relay sends them again
            return [None] * len(image_ids)
        wanted = set(image_ids) - self.held.ids  # an image that outlives its lease here is not begun here again
        jobs = self.retry_until_up(lambda tries: self.held.lease(wanted, again=tries > 0))
        leased = {job.image_id: job for job in jobs}
        return [leased.pop(image_id, None) for image_id in image_ids]

    def _process(self, leased: Sequence[Future[LeasedImage | None]]) -> None:
        refused = Refused()
        jobs = [job for future in leased if (job := refused.result(future)) is not None]
        attempts = [(job, Stopwatch(job.age_s, job.waited_s)) for job in jobs]
        recorded = (self._pool.map if len(jobs) > 1 else map)(self._process_and_submit, attempts)
        for (job, stages), future in zip(attempts, recorded, strict=True):
            with refused.noted():
                self._await_record(job, stages, future)
        refused.check()

    def _process_and_submit(self, attempt: tuple[LeasedImage, Stopwatch]) -> Future[None]:
        """Submit each image's record at once: a neighbour in the same message may take its time."""
        with self._records.expecting_more():
            return self._records.submit(self._process_one(*attempt))

    def _process_one(self, job: LeasedImage, stages: Stopwatch) -> AttemptResult:
        """One attempt at one image; whatever happens to it affects no other image."""
        stages.start()
        self.held.begin(job.image_id)
        try:
            with self._leases.expecting_more():  # this thread is busy, so the next lease can wait for company
                scored, pair, notes = self._fetch_decode_score(job, stages)
        except StoppingError:
            raise
        except Exception as error:  # noqa: BLE001 - it is logged with the image's line
            bug = None if isinstance(error, Rejected | WorkerError) else error
            return AttemptResult(job, retry_policy.classify(job, error, self.settings), stages, bug=bug)
        return AttemptResult(job, scored, stages, pair, notes=notes)

    def _fetch_decode_score(self, job: LeasedImage, stages: Stopwatch) -> tuple[Scored, ActivePair, tuple[str, ...]]:
        with self._scores.expecting_more():
            data, picture = self._fetch_and_decode(job, stages)
            future = self._scores.submit(picture.pixels)
        with stages.timed("inspect"):  # while the picture waits for a batch
            signals = self._signals.read(data)
        with stages.timed("forward"):
            pair, reading, beside = future.result()
            stability = self._redelivery.measure(job.policy, pair, reading.score, lambda: self._redeliver(job, data))
        scored = Scored(
            image_id=job.image_id,
            policy=job.policy,
            score=reading.score,
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            width=picture.width,
            height=picture.height,
            beside=beside,
            looks=self._hash(picture, reading.score if stability is None else stability.high),
            stability=stability,
            uploaded=uploads.is_upload(job.url or ""),
            signals=signals,
            projection=reading.projection if self._keeps_projections else b"",
            keys=reading.keys,
            kept_as=self._kept_as(job.image_id, reading.score, pair.active),
        )
        return scored, pair, picture.notes

    def _kept_as(self, image_id: str, score: float, model: LoadedModel) -> str | None:
        """Why a photo's projection is kept even if nothing flags it; None when it is not."""
        if score >= model.keeps_from:
            return "high"
        drawn = hash_fraction(f"projection {image_id}".encode()) < self.settings.projection_sample
        return "sample" if drawn else None

    def _hash(self, picture: Picture, score: float) -> bytes | None:
        if not self._hashes:
            return b""
        return phash.perceptual_hash(picture.pixels) if score >= self.models.flags_from else None

    def _fetch_and_decode(self, job: LeasedImage, stages: Stopwatch) -> tuple[bytes, Picture]:
        if job.url is None:
            raise FetchError("erased", "its account was erased")
        with stages.timed("fetch"):
            data = self.fetcher.fetch(job.url)
        with stages.timed("decode"):
            picture = self._decode(job, data)
        check_domain(picture, self.models.pair.active.scorer.card, self.settings.min_side)
        return data, picture

    def _decode(self, job: LeasedImage, data: bytes) -> Picture:
        if not _is_suspect(job, data):
            return self._decoder.decode(data)
        with self.held.waiting_for_sandbox(job.image_id):
            return self.sandbox.decode(data)

    def _redeliver(self, job: LeasedImage, data: bytes) -> list[Pixels]:
        """The pixels of its other deliveries, from where the photo itself was decoded."""
        if not _is_suspect(job, data):
            return self._decoder.redeliveries(data)
        with self.held.waiting_for_sandbox(job.image_id):
            return self.sandbox.redeliveries(data)

    def _record_batch(self, batch: list[AttemptResult]) -> list[None]:
        self._write(lambda session: record_attempts(session, batch, self.held.owner))
        self.held.recorded([attempt.job.image_id for attempt in batch])
        self._accounting.add(batch)
        return [None] * len(batch)

    def _await_record(self, job: LeasedImage, stages: Stopwatch, recorded: Future[None]) -> None:
        """Wait for the record; one that the database refuses (its row is gone, say) is that image's failure alone."""
        try:
            recorded.result()
        except DatabaseUnavailableError:
            raise
        except DatabaseError as error:
            failure = retry_policy.classify(job, error, self.settings)
            self._records.submit(AttemptResult(job, failure, stages, bug=error)).result()

    def _write(self, change: Callable[[Session], object]) -> None:
        """Commit a change, however long the database is unreachable."""

        def attempt(_tries: int) -> None:
            with self.database.writing() as session:
                change(session)

        self.retry_until_up(attempt)

    def _break(self, why: str) -> None:
        self._given_up.set()
        self._on_broken(why)


def _is_suspect(job: LeasedImage, data: bytes) -> bool:
    """A worker was lost while it processed this image; or its format's decoder is new, and hides its size."""
    return job.losses > 0 or is_avif(data)
