"""Looks after what this worker has in hand: keeps what is not begun yet, and ends it where a decode hangs."""

from worker.core.beside import Beside
from worker.pipeline.service import Service

#: So often in the time for which an image is in hand: whoever misses one beat has another.
_BEATS = 3


class Renewer(Beside):
    """Renews leases: those of 32 messages of 32 images each may run out while a slow image host is waited for.

    Others would take those images for lost, and do them as well.
    """

    def __init__(self, service: Service) -> None:
        super().__init__("renewer", "leases are not renewed", service.settings.lease_s / _BEATS)
        self._service = service

    def step(self) -> bool:
        """Once; False: it has time until the next."""
        self._service.watch()
        self._service.renew()
        return False
