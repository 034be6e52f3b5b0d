"""Scores old images with another version while this worker has nothing else to do."""

import hashlib
import logging

from db.policy import scores
from db.work import rescores
from db.work.rescores import Part, Photo
from trainer.errors import TrainerError
from worker.core.beside import Beside
from worker.core.errors import FetchError, WorkerError
from worker.inference.models import Loaded
from worker.pipeline.service import Service

log = logging.getLogger(__name__)

#: While there is nothing to rescore, or something better to do, it looks again so often.
_LOOK_S = 0.25


class Rescorer(Beside):
    """Takes a few images of a backfill whenever nothing is in hand.

    So an upload waits for at most one small forward pass: of one picture on a CPU, where more at once are no faster.
    """

    def __init__(self, service: Service) -> None:
        super().__init__("rescorer", "nothing is rescored", _LOOK_S)
        self._service = service
        self._models = service.models

    def step(self) -> bool:
        """Some images of a backfill, which may all have their score; False: nothing to do, or uploads to do first."""
        if not self._models.rescoring or not self._models.taking or self._service.busy:
            return False
        pair = self._models.pair
        loaded = [model for model in (pair.active, pair.shadow) if model is not None]
        limit = 1 if pair.active.scorer.device.type == "cpu" else self._service.settings.max_batch
        with self._service.database.writing() as session:
            part = rescores.take(session, [model.served.id for model in loaded], limit)
        if part is None:
            return False
        if part.photos:
            self._score(part, next(model for model in loaded if model.served.id == part.version_id))
        return True

    def _score(self, part: Part, model: Loaded) -> None:
        found = {photo.image_id: score for photo in part.photos if (score := self._one(photo, model)) is not None}
        with self._service.database.writing() as session:
            new = scores.record_others(session, found, model.made_by)
            rescores.report(session, part, scored=new, failed=len(part.photos) - len(found))

    def _one(self, photo: Photo, model: Loaded) -> float | None:
        """A score, unless the photo is gone, broken or another one by now."""
        try:
            data = self._service.fetcher.fetch(photo.url)
            if photo.sha256 not in (None, hashlib.sha256(data).hexdigest()):
                raise FetchError("changed", "it is not the file that was scored before")
            return model.score([self._service.isolation.decode(data).pixels])[0]
        except (TrainerError, WorkerError) as error:
            log.info("image %s is not rescored: %s", photo.image_id, error)
            return None
