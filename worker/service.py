"""What one worker process holds: lease → fetch → decode → score → record, each a batch at a time where that pays."""

import hashlib
import logging
import os
import random
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from db import images, scores, versions
from db.images import Failure, Job
from db.scores import Provenance, Scored
from db.session import Database
from trainer.errors import Rejected
from trainer.preprocess import Picture, decode
from worker.batcher import Batcher
from worker.errors import FetchError
from worker.fetch import Fetcher
from worker.scorer import Scorer
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

Outcome = Scored | Failure

#: Rows in one transaction.
_SQL_BATCH = 500
#: No pause between tries is longer.
_MAX_RETRY_S = 3600.0


class Service:
    """Scores images by id. Safe to call from many threads: what they have in hand at once shares batches."""

    def __init__(self, settings: WorkerSettings, database: Database, scorer: Scorer, version_id: int) -> None:
        self.settings = settings
        self.database = database
        self.owner = f"{socket.gethostname()}:{os.getpid()}"[:128]
        self._fetcher = Fetcher(settings)
        self._made_by = Provenance(version_id, scorer.engine, str(scorer.device))
        self._leases: Batcher[str, Job | None] = Batcher("lease", self._take, _SQL_BATCH)
        self._scores = Batcher("score", scorer.score, settings.max_batch, settings.max_wait_s)
        self._records: Batcher[Outcome, None] = Batcher("record", self._record, _SQL_BATCH)
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="image")

    @classmethod
    def open(cls, settings: WorkerSettings) -> Self:
        """Connect, check the schema, and load the active model; raises a room's error when that cannot be."""
        database = Database(settings.database_url)
        database.check_schema()
        with database.reading() as session:
            version = versions.active(session)
        path = settings.models_dir / f"{version.sha256}.safetensors"
        scorer = Scorer.open(path, settings.device, version.sha256)
        log.info("model %s serves on %s with %s", version.name, scorer.device, scorer.engine)
        return cls(settings, database, scorer, version.id)

    def score(self, image_ids: Sequence[str]) -> None:
        """Give each of these images its score, or its reason, in SQL; those that are not pending are left alone.

        Returns when every one is recorded; raises when the record could not be written.
        """
        leased = [self._leases.submit(image_id) for image_id in image_ids]
        jobs = [job for future in leased if (job := future.result()) is not None]
        outcomes = self._pool.map(self._outcome, jobs) if len(jobs) > 1 else map(self._outcome, jobs)
        recorded = [self._records.submit(outcome) for outcome in outcomes]
        for future in recorded:
            future.result()

    def close(self) -> None:
        """Finish what is in hand, and let go of everything."""
        self._pool.shutdown()
        for batcher in (self._leases, self._scores, self._records):
            batcher.close()
        self.database.close()

    def _take(self, image_ids: list[str]) -> list[Job | None]:
        """Lease a batch. An id that came twice is given out once."""
        with self.database.writing() as session:
            jobs = images.lease(session, set(image_ids), self.owner, self.settings.lease_s)
        taken = {job.image_id: job for job in jobs}
        return [taken.pop(image_id, None) for image_id in image_ids]

    def _outcome(self, job: Job) -> Outcome:
        """One image's fate; whatever happens to it happens to nobody else."""
        try:
            return self._scored(job)
        except Rejected as error:
            return Failure(job.image_id, error.reason, str(error))
        except FetchError as error:
            return self._failure(job, error.reason, error.detail, transient=error.transient)
        except Exception as error:
            log.exception("image %s could not be scored", job.image_id)
            return self._failure(job, "internal_error", f"{type(error).__name__}: {error}"[:500], transient=True)

    def _scored(self, job: Job) -> Scored:
        with self._scores.coming():
            data, picture = self._picture(job)
            score = self._scores.submit(picture.pixels)
        return Scored(
            image_id=job.image_id,
            policy=job.policy,
            score=score.result(),
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            width=picture.width,
            height=picture.height,
        )

    def _picture(self, job: Job) -> tuple[bytes, Picture]:
        if job.url is None:
            raise FetchError("erased", "its account was erased")
        data = self._fetcher.fetch(job.url)
        return data, decode(data)

    def _failure(self, job: Job, reason: str, detail: str, *, transient: bool) -> Failure:
        final = not transient or job.attempts >= self.settings.max_attempts
        return Failure(job.image_id, reason, detail, None if final else self._pause_s(job.attempts))

    def _pause_s(self, attempts: int) -> float:
        """Doubled with each attempt, and spread, so that what failed together does not come back together."""
        return min(self.settings.retry_s * 2.0 ** (attempts - 1), _MAX_RETRY_S) * random.uniform(0.75, 1.25)  # noqa: S311

    def _record(self, outcomes: list[Outcome]) -> list[None]:
        """One transaction for a batch of outcomes."""
        with self.database.writing() as session:
            scores.record(session, [item for item in outcomes if isinstance(item, Scored)], self._made_by)
            images.put_back(session, [item for item in outcomes if isinstance(item, Failure)])
        return [None] * len(outcomes)
