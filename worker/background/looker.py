"""Makes the perceptual hashes that are missing, while this worker has nothing else to do."""

from db.work import requests
from worker.photos import looks
from worker.core.beside import Beside
from worker.pipeline.requests import fulfil_one
from worker.pipeline.service import Service

#: While there is nothing to hash, or something better to do, it looks again so often: nobody waits for it.
_LOOK_S = 2.0


class Looker(Beside):
    """Takes one photo whenever nothing is in hand: those that were flagged by a threshold set after they were scored.

    So an upload waits for at most one decode. A worker without the extra "clusters" leaves them to others.
    """

    def __init__(self, service: Service) -> None:
        super().__init__("looker", "no perceptual hash is made", _LOOK_S)
        self._service = service
        self._able = looks.available()

    def step(self) -> bool:
        """Hash one photo; False: there is none, or something better to do."""
        if not self._able or self._service.busy or not self._service.models.taking:
            return False
        with self._service.database.writing() as session:
            tasks = requests.take_looks(session, 1, self._service.settings.lease_s)
        for task in tasks:
            fulfil_one(self._service, task)
        return bool(tasks)
