"""Renews the leases of images that this worker has not begun yet, and ends the worker when a decode hangs."""

from worker.core.periodic import PeriodicThread
from worker.pipeline.service import Service

#: Renewals per lease: one missed renewal must not lose it.
_RENEWALS = 3


class LeaseRenewer(PeriodicThread):
    """Renews leases: those of 32 messages of 32 images each could expire while a slow image host is waited for.

    Other workers would then take those images for lost, and score them as well.
    """

    def __init__(self, service: Service) -> None:
        super().__init__("lease-renewer", "lease renewal", service.settings.lease_s / _RENEWALS)
        self._service = service

    def step(self) -> bool:
        """Check for hanging decodes and renew once; always False, since the next renewal can wait."""
        self._service.check_decodes()
        self._service.renew_leases()
        return False
