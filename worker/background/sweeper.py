"""Sends what nobody has sent: rows that another language inserted, and those whose message or worker was lost."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery
from kombu import pools
from kombu.exceptions import OperationalError
from kombu.utils.url import maybe_sanitize_url
from redis.exceptions import RedisError

from db.policy import pauses
from db.store import locks
from db.work import outbox, requests
from db.work.outbox import Patience
from db.store.session import Database
from worker.telemetry import metrics
from worker.core.beside import Beside
from worker.celery import QUEUE
from worker.core.errors import BrokerError
from worker.core.settings import WorkerSettings

log = logging.getLogger(__name__)

#: The lock of the sweeper that leads.
LOCK = "sweeper"
#: What a broker would not take is due again after so many seconds.
_AGAIN_S = 5.0
#: How long to wait for a connection to the broker.
_CONNECTION_S = 2.0


@dataclass(frozen=True, slots=True)
class Senders:
    """How images and requests are sent; False when they could not be."""

    images: Callable[[Sequence[str]], bool]
    requests: Callable[[Sequence[int]], bool]


def sweep(database: Database, send: Senders, settings: WorkerSettings, room: int) -> int:
    """Send images that are due, at most ``room`` of them, and give up those that worker after worker was lost with.

    Returns how many were sent; people's requests go first, and count too. What was sent comes due again after a while,
    so a lost message is only a delay. While scoring is paused nothing is sent.
    """
    with database.writing() as session:
        if "scoring" in pauses.standing(session):
            return 0
        parked = outbox.park_lost(session, settings.max_losses, settings.retry_deadline_s)
        room = max(0, min(room, settings.sweep_limit))
        asked = requests.take_due(session, room, settings.resend_s)
        patience = Patience(settings.resend_s, settings.resend_max_s)
        due = outbox.take_due(session, room - len(asked), patience)
    for image_id in parked:
        log.warning("image %s was given up: %d workers were lost with it", image_id, settings.max_losses)
        metrics.images.labels("failed").inc()
        metrics.failures.labels("worker_lost").inc()
    unsent_requests = asked if asked and not send.requests(asked) else []
    unsent = due if due and not send.images(due) else []
    if unsent_requests or unsent:
        with database.writing() as session:
            requests.unsent(session, unsent_requests, _AGAIN_S)
            outbox.unsent(session, unsent, _AGAIN_S)
    return len(asked) + len(due) - len(unsent_requests) - len(unsent)


def waiting(app: Celery) -> int:
    """Messages in the queue; raises `BrokerError` when it cannot be asked."""
    # Of kombu's pool, which closes it when it fails: a new one each second cost 1.3 ms of a processor more.
    with pools.connections[app.connection_for_read()].acquire(block=True, timeout=_CONNECTION_S) as connection:
        try:
            connection.ensure_connection(max_retries=1, timeout=_CONNECTION_S)
            channel: Any = connection.default_channel  # kombu's Redis channel, whose client adds our key prefix
            return int(channel.client.llen(QUEUE))
        except (OperationalError, OSError, RedisError) as error:
            name = maybe_sanitize_url(str(app.conf.broker_url))
            raise BrokerError(f"broker {name} cannot be reached: {error}") from error


class Sweeper(Beside):
    """Sweeps every ``sweep_s`` seconds while it leads.

    One sweeper leads at a time, whoever has the lock; another takes over when it was silent for ``leader_s``.
    """

    def __init__(self, app: Celery, database: Database, owner: str, send: Senders, settings: WorkerSettings) -> None:
        super().__init__("sweeper", "nothing swept", settings.sweep_s)
        self._app = app
        self._database = database
        self._owner = owner
        self._send = send
        self._settings = settings

    def step(self) -> bool:
        """Sweep once, if this is the one that leads; False: what is left has time until the next sweep."""
        with self._database.writing() as session:
            leads = locks.hold(session, LOCK, self._owner, self._settings.leader_s)
        if leads:
            sweep(self._database, self._send, self._settings, self._room())
        return False

    def resign(self) -> None:
        """Leave the lead to the next."""
        with self._database.writing() as session:
            locks.let_go(session, LOCK, self._owner)

    def _room(self) -> int:
        try:
            return self._settings.queue_limit - waiting(self._app)
        except BrokerError:
            self.resign()  # another may reach it
            raise
