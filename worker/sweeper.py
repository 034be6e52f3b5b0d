"""Sends what nobody has sent: rows that another language inserted, and those whose message or worker was lost."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from db import images
from db.errors import DatabaseError
from db.session import Database
from worker.celery import QUEUE
from worker.errors import BrokerError
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

Send = Callable[[Sequence[str]], bool]


def sweep(database: Database, send: Send, settings: WorkerSettings, room: int) -> int:
    """Send images that are due, at most ``room`` of them, and give up those that keep killing workers.

    Returns how many were sent. They come due again after ``resend_s``, so a lost message is only a delay.
    """
    with database.writing() as session:
        parked = images.park_exhausted(session, settings.max_attempts)
        due = images.take_due(session, min(room, settings.sweep_limit), settings.resend_s) if room > 0 else []
    for image_id in parked:
        log.warning("image %s was given up after %d attempts", image_id, settings.max_attempts)
    if due:
        send(due)
    return len(due)


def waiting(app: Celery) -> int:
    """Messages in the queue; raises `BrokerError` when it cannot be asked."""
    with app.connection_for_read() as connection:
        try:
            connection.ensure_connection(max_retries=1, timeout=2)
            channel: Any = connection.default_channel  # kombu's Redis channel, whose client adds our key prefix
            return int(channel.client.llen(QUEUE))
        except (OperationalError, OSError, RedisError) as error:
            raise BrokerError(f"broker {connection.as_uri()} cannot be reached: {error}") from error


class Sweeper:
    """A thread that sweeps every ``sweep_s`` seconds, and outlives any outage of the broker or the database."""

    def __init__(self, app: Celery, database: Database, send: Send, settings: WorkerSettings) -> None:
        self._app = app
        self._database = database
        self._send = send
        self._settings = settings
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Sweep no more. Does not wait, since signal handlers call it; `join` does."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for the sweep that is running, if any."""
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        while not self._stopped.wait(self._settings.sweep_s):
            try:
                room = self._settings.queue_limit - waiting(self._app)
                sweep(self._database, self._send, self._settings, room)
            except (DatabaseError, BrokerError) as error:
                log.warning("nothing swept: %s", error)
            except Exception:
                log.exception("nothing swept")
