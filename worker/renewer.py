"""Keeps what this worker has in hand and has not begun yet: else others would take it for lost, and do it as well."""

from worker.beside import Beside
from worker.service import Service

#: So often in the time for which an image is in hand: whoever misses one beat has another.
_BEATS = 3


class Renewer(Beside):
    """Renews leases: those of 32 messages of 32 images each may run out while a slow image host is waited for."""

    def __init__(self, service: Service) -> None:
        super().__init__("renewer", "leases are not renewed", service.settings.lease_s / _BEATS)
        self._service = service

    def step(self) -> bool:
        """Once; False: it has time until the next."""
        self._service.renew()
        return False
