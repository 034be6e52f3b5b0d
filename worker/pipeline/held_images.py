"""The images that one worker process holds: which it has leased and begun, and which others may take."""

import logging
import os
import secrets
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from db.errors import DatabaseError
from db.store.session import Database
from db.work import images
from db.work.images import LeasedImage
from worker.core.settings import WorkerSettings

log = logging.getLogger(__name__)


class HeldImages:
    """The images that this worker has leased and not yet recorded. Safe to call from many threads."""

    def __init__(self, settings: WorkerSettings, database: Database) -> None:
        self.owner = new_owner()
        self.ids: set[str] = set()
        self._settings = settings
        self._database = database
        self._begun: set[str] = set()
        self._suspects: set[str] = set()
        self._progressed = False

    def lease(self, image_ids: Collection[str], *, again: bool) -> list[LeasedImage]:
        """Lease those of these images that are free; ``again``: this is not the first try."""
        with self._database.writing() as session:
            if again:  # the last attempt may have been committed, and only its answer lost
                images.release_leases(session, set(image_ids) - self.ids, self.owner)
            limits = self._settings.lease_s, self._settings.retry_deadline_s
            jobs = images.lease(session, image_ids, self.owner, *limits)
        self.ids |= {job.image_id for job in jobs}
        return jobs

    def begin(self, image_id: str) -> None:
        """Note that the image's first stage has begun: its lease is renewed no more."""
        self._begun.add(image_id)

    @contextmanager
    def waiting_for_sandbox(self, image_id: str) -> Iterator[None]:
        """Keep a suspect's lease renewed in the block: it may wait long, and the sandbox's own limits end it."""
        self._suspects.add(image_id)
        try:
            yield
        finally:
            self._suspects.discard(image_id)

    def renew(self) -> None:
        """Renew the leases of images that are not begun, and of suspects that wait for the sandbox.

        All other begun images have the rest of their lease to finish; and when no image has finished since the last
        call, other workers may well take those that are not begun.
        """
        progressed, self._progressed = self._progressed, False
        kept = self._suspects | (self.ids - self._begun if progressed else set())
        if kept:
            with self._database.writing() as session:
                images.renew_leases(session, kept, self.owner, self._settings.lease_s)

    def release_all(self, *, lost: bool) -> None:
        """Give all to other workers; ``lost``: count it as a worker lost with them."""
        with self._database.writing() as session:
            images.release_leases(session, list(self.ids), self.owner, lost=lost)

    def let_go(self, image_ids: Collection[str]) -> None:
        """Release images that could not be recorded. Each try counts as a loss, so that there is a last one."""
        held = self.ids.intersection(image_ids)
        try:
            with self._database.writing() as session:
                images.release_leases(session, held, self.owner, lost=True, pause_s=self._settings.retry_s)
        except DatabaseError as error:  # their leases run out
            log.warning("leases of %d images are not released: %s", len(held), error)
        self._forget(held)  # or this worker would never begin them again

    def recorded(self, image_ids: Collection[str]) -> None:
        """Note that these images are recorded, and no longer this worker's."""
        self._progressed = True
        self._forget(image_ids)

    def _forget(self, image_ids: Collection[str]) -> None:
        self.ids.difference_update(image_ids)
        self._begun.difference_update(image_ids)


def new_owner() -> str:
    """A name that no other process has or will have: containers reuse process ids."""
    return f"{socket.gethostname()[:80]}:{os.getpid()}:{secrets.token_hex(4)}"
