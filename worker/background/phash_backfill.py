"""Makes missing perceptual hashes while this worker has nothing else to do."""

from db.work import on_demand
from worker.core.periodic import PeriodicThread
from worker.photos import phash
from worker.pipeline.on_demand import fulfil_one
from worker.pipeline.service import Service

#: Pause while there is nothing to hash, or while uploads are being scored; nobody waits for a hash.
_LOOK_S = 2.0


class PhashBackfiller(PeriodicThread):
    """Hashes one photo whenever no other image is being processed.

    They are photos that a threshold flagged after they were scored. An upload waits for at most one decode. A worker
    without the extra "clusters" leaves the hashes to others.
    """

    def __init__(self, service: Service) -> None:
        super().__init__("phash-backfill", "perceptual hashes", _LOOK_S)
        self._service = service
        self._available = phash.available()

    def step(self) -> bool:
        """Hash one photo; False when there is none, or uploads come first."""
        if not self._available or self._service.in_hand or not self._service.models.accepting:
            return False
        with self._service.database.writing() as session:
            tasks = on_demand.lease_hash_requests(session, 1, self._service.settings.lease_s)
        for task in tasks:
            fulfil_one(self._service, task)
        return bool(tasks)
