"""Backfill: scores old images with another model version while this worker has nothing else to do."""

import hashlib
import logging

from db.policy import scores
from db.work import backfills
from db.work.backfills import BackfillBatch, BackfillImage
from trainer.errors import TrainerError
from worker.core.errors import FetchError, WorkerError
from worker.core.periodic import PeriodicThread
from worker.inference.model_server import LoadedModel
from worker.pipeline.service import Service

log = logging.getLogger(__name__)

#: Pause while there is nothing to rescore, or while uploads are being scored.
_LOOK_S = 0.25


class Backfiller(PeriodicThread):
    """Scores a few images of a backfill whenever no other image is being processed.

    So an upload waits for at most one small forward pass: one picture on a CPU, where more at once are no faster.
    """

    def __init__(self, service: Service) -> None:
        super().__init__("backfill", "backfill", _LOOK_S)
        self._service = service
        self._models = service.models

    def step(self) -> bool:
        """Score the next part of a backfill; False when there is none, or uploads come first."""
        if not self._models.rescoring or not self._models.accepting or self._service.in_hand:
            return False
        pair = self._models.pair
        loaded = [model for model in (pair.active, pair.shadow) if model is not None]
        limit = 1 if pair.active.scorer.device.type == "cpu" else self._service.settings.max_batch
        with self._service.database.writing() as session:
            part = backfills.lease_batch(session, [model.served.id for model in loaded], limit)
        if part is None:
            return False
        if part.photos:
            self._score(part, next(model for model in loaded if model.served.id == part.version_id))
        return True

    def _score(self, part: BackfillBatch, model: LoadedModel) -> None:
        found = {photo.image_id: score for photo in part.photos if (score := self._one(photo, model)) is not None}
        with self._service.database.writing() as session:
            new = scores.record_backfill(session, found, model.made_by)
            backfills.report_batch(session, part, scored=new, failed=len(part.photos) - len(found))

    def _one(self, photo: BackfillImage, model: LoadedModel) -> float | None:
        """A score; None when the photo is gone, broken or has changed."""
        try:
            data = self._service.fetcher.fetch(photo.url)
            if photo.sha256 not in (None, hashlib.sha256(data).hexdigest()):
                raise FetchError("changed", "the file is not the one that was scored")
            return model.watched.score([self._service.sandbox.decode(data).pixels])[0]
        except (TrainerError, WorkerError) as error:
            log.info("image %s: not rescored: %s", photo.image_id, error)
            return None
