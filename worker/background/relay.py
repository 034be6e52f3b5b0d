"""The relay: it alone sends due images and requests from the database to Redis, by lane, and resends lost messages.

One relay leads at a time. It steps every ``sweep_s`` seconds, and at once when an image is added.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from celery import Celery

from db.policy import pauses
from db.store import locks
from db.store.notifications import Notifications
from db.store.session import Database
from db.work import odd_rows, on_demand, outbox
from db.work.odd_rows import OddImage
from db.work.outbox import Lane, ResendBackoff
from worker.broker import sender
from worker.core.errors import BrokerError
from worker.core.periodic import PeriodicThread
from worker.core.settings import WorkerSettings
from worker.telemetry import metrics

log = logging.getLogger(__name__)

#: The lock of the relay that leads.
LOCK = "sweeper"
#: Images and requests that could not be sent are due again after this many seconds.
_AGAIN_S = 5.0
#: Seconds between two polls where the database sends no notifications, and at least between two steps.
_LOOK_S = 0.05
#: Seconds for which the watcher waits for a notification before it checks whether to stop.
_LISTEN_S = 1.0
#: Redis holds messages for about this many seconds of work: images that wait in SQL can still be reordered.
_AHEAD_S = 5.0
#: Seconds over which the relay measures how many messages workers take.
_MEASURED_S = 0.5
#: Messages in a lane's list that are always allowed, whatever workers took lately.
_FEW = 8
#: Odd rows that one step fails, and seconds between two looks at all pending images for more.
_ODD = 100
_THOROUGH_S = 600.0
#: Messages of other applications' Celery that one step takes over.
_ADOPTED = 1000


@dataclass(frozen=True, slots=True)
class Senders:
    """The functions that send images and requests; each returns False when it could not send them."""

    images: Callable[[Sequence[str], Lane], bool]
    requests: Callable[[Sequence[int]], bool]


def send_due_images(
    database: Database,
    send: Senders,
    settings: WorkerSettings,
    room: dict[Lane, int],
    lanes: Iterable[Lane] = tuple(Lane),
) -> dict[Lane, int]:
    """Send images that are due in ``lanes``, at most ``room`` of each lane; returns how many were sent of each.

    Each image is due again after a pause, so a lost message only causes a delay. While scoring is paused, this sends
    nothing.
    """
    patience = ResendBackoff(settings.resend_s, settings.resend_max_s)
    limits = {lane: min(room[lane], settings.sweep_limit) for lane in lanes if room[lane] > 0}
    with database.writing() as session:
        if "scoring" in pauses.current_pauses(session):
            return dict.fromkeys(Lane, 0)
        taken = {lane: outbox.take_due_images(session, lane, limit, patience) for lane, limit in limits.items()}
    report_odd([odd for found in taken.values() for odd in found.odd])
    due = {lane: found.ids for lane, found in taken.items()}
    unsent = {lane: ids for lane, ids in due.items() if ids and not send.images(ids, lane)}
    if unsent:
        with database.writing() as session:
            outbox.return_unsent_images(session, [image_id for ids in unsent.values() for image_id in ids], _AGAIN_S)
    return {lane: len(due.get(lane, ())) if lane not in unsent else 0 for lane in Lane}


def send_due_requests(database: Database, send: Senders, settings: WorkerSettings, room: int) -> int:
    """Send due requests for previews and heatmaps, at most ``room``; returns how many were sent."""
    with database.writing() as session:
        if "scoring" in pauses.current_pauses(session):
            return 0
        asked = on_demand.take_due_requests(session, max(0, min(room, settings.sweep_limit)), settings.resend_s)
    if not asked or send.requests(asked):
        return len(asked)
    with database.writing() as session:
        on_demand.return_unsent_requests(session, asked, _AGAIN_S)
    return 0


def fail_lost(database: Database, settings: WorkerSettings) -> None:
    """Fail images whose workers were lost too often."""
    with database.writing() as session:
        lost = (
            []
            if "scoring" in pauses.current_pauses(session)
            else outbox.fail_lost_images(session, settings.max_losses, settings.retry_deadline_s)
        )
    for image_id in lost:
        log.warning("image %s failed: %d workers were lost while they processed it", image_id, settings.max_losses)
        metrics.images.labels("failed").inc()
        metrics.failures.labels("worker_lost").inc()


def fail_unsendable(database: Database, *, thorough: bool) -> None:
    """Fail odd rows that no lane takes; ``thorough``: also those of a policy or lane that does not exist."""
    with database.writing() as session:
        odd = odd_rows.fail_never_due(session, _ODD)
        if thorough:
            odd += odd_rows.fail_never_sent(session, _ODD)
    report_odd(odd)


def report_odd(found: Sequence[OddImage]) -> None:
    """Log and count odd rows that have just failed."""
    for odd in found:
        log.warning("image %s failed: %s", ascii(odd.id), odd.detail)
        metrics.images.labels("failed").inc()
        metrics.failures.labels(odd_rows.REASON).inc()


class QueueWindow:
    """The maximum number of messages of a lane in Redis: what workers recently took in ``_AHEAD_S`` seconds."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queued: dict[Lane, int] | None = None
        self._sent = 0
        self._taken = 0
        self._since = 0.0
        self._per_s = 0.0

    def room(self, queued: dict[Lane, int], now: float) -> dict[Lane, int]:
        """Messages that may be added to each lane when Redis has ``queued`` at ``now`` (monotonic seconds)."""
        self._measure(queued, now)
        window = min(self._limit, max(_FEW, round(self._per_s * _AHEAD_S)))
        return {lane: max(0, window - waiting) for lane, waiting in queued.items()}

    def sent(self, messages: int) -> None:
        """Record that this many messages were added."""
        self._sent += messages

    def _measure(self, queued: dict[Lane, int], now: float) -> None:
        if self._queued is None:
            self._since = now
        else:
            self._taken += max(0, sum(self._queued.values()) + self._sent - sum(queued.values()))
        self._queued, self._sent = queued, 0
        if now - self._since >= _MEASURED_S:
            self._per_s = max(self._taken / (now - self._since), self._per_s / 2)  # a lull does not mean slower workers
            self._taken, self._since = 0, now


class Relay(PeriodicThread):
    """Steps every ``sweep_s`` seconds, and when it is woken, while it leads.

    The relay with the lock leads; another takes over when the lock was not renewed for ``leader_s`` seconds.
    """

    def __init__(self, app: Celery, database: Database, owner: str, send: Senders, settings: WorkerSettings) -> None:
        super().__init__("relay", "relay: nothing sent", settings.sweep_s)
        self._app = app
        self._database = database
        self._owner = owner
        self._send = send
        self._settings = settings
        self._window = QueueWindow(settings.queue_limit)
        self._held_at = self._stepped_at = self._looked_at = -float("inf")
        #: Whether this relay leads, and its last step sent every due upload.
        self.caught_up = False
        #: Messages that waited in Redis at the last step; None while this relay does not lead, or cannot reach Redis.
        self.queued: dict[Lane, int] | None = None

    def step(self) -> bool:
        """Send due images and requests if this relay leads; True when more could be sent at once."""
        if not self._leads():
            self.caught_up, self.queued = False, None
            return False
        room = self._room()
        whole = time.monotonic() - self._stepped_at >= 0.9 * self._settings.sweep_s  # a timer is not exact
        if whole:
            self._stepped_at = time.monotonic()
            self._sweep(room)
        ids = {lane: messages * sender.IDS_PER_MESSAGE for lane, messages in room.items()}
        sent = send_due_images(
            self._database, self._send, self._settings, ids, tuple(Lane) if whole else (Lane.UPLOAD,)
        )
        self._window.sent(sum(-(-count // sender.IDS_PER_MESSAGE) for count in sent.values()))
        self.caught_up = sent[Lane.UPLOAD] < min(ids[Lane.UPLOAD], self._settings.sweep_limit)
        return any(0 < count == min(ids[lane], self._settings.sweep_limit) for lane, count in sent.items())

    def release_lock(self) -> None:
        """Let another relay lead."""
        self._held_at = -float("inf")
        self.caught_up, self.queued = False, None
        with self._database.writing() as session:
            locks.release(session, LOCK, self._owner)

    def _sweep(self, room: dict[Lane, int]) -> None:
        """Do the work that does not depend on new uploads."""
        metrics.adopted_messages.inc(sender.adopt(_ADOPTED, self._app))
        fail_lost(self._database, self._settings)
        thorough = time.monotonic() - self._looked_at >= _THOROUGH_S
        fail_unsendable(self._database, thorough=thorough)
        if thorough:
            self._looked_at = time.monotonic()
        self._window.sent(send_due_requests(self._database, self._send, self._settings, room[Lane.UPLOAD]))

    def _leads(self) -> bool:
        """Whether this relay has the lock. The lock is renewed well before it expires, but not at each upload."""
        if time.monotonic() - self._held_at < self._settings.leader_s / 10:
            return True
        with self._database.writing() as session:
            leads = locks.acquire(session, LOCK, self._owner, self._settings.leader_s)
        self._held_at = time.monotonic() if leads else -float("inf")
        return leads

    def _room(self) -> dict[Lane, int]:
        try:
            self.queued = sender.queued(self._app)
        except BrokerError:
            self.release_lock()  # another relay may reach the broker
            raise
        return self._window.room(self.queued, time.monotonic())


class DueWatcher(PeriodicThread):
    """Wakes the relay when an image was added.

    It listens for PostgreSQL's notifications. On SQLite, and behind a transaction pooler, it polls.
    """

    def __init__(self, database: Database, relay: Relay) -> None:
        super().__init__("due-watcher", "new images wait for the relay's next step", _LOOK_S)
        self._database = database
        self._relay = relay
        listens = database.schema is not None and database.keeps_connections
        self._notifications = Notifications(database) if listens else None

    def step(self) -> bool:
        """Wake the relay if images were added. Between two steps is a short pause, so that images gather."""
        if self._relay.caught_up and self._added():
            self._relay.wake()
        return False

    def release_lock(self) -> None:
        """Close the connection that listens."""
        if self._notifications is not None:
            self._notifications.close()

    def _added(self) -> bool:
        if self._notifications is not None:
            return self._notifications.wait(_LISTEN_S)
        with self._database.reading() as session:
            return outbox.any_upload_due(session)
