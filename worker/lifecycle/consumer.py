"""Celery's consumer, whose loop says that it goes round: also while it waits for a broker that is away.

A stamp from another thread would go on while the loop hangs; ``celery inspect ping`` asks the broker.
"""

import logging
from collections.abc import Callable
from typing import Any

from celery.worker import consumer

from worker.telemetry.health import BEAT_S
from worker.lifecycle.process import Process

log = logging.getLogger(__name__)


class Consumer(consumer.Consumer):
    """The same, and heard of. Its base has no types."""

    conninfo: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Kombu 5.7 acknowledges over a connection that it has taken apart when the broker went away meanwhile, and
        # this would end the worker. What is acknowledged in vain comes again, and is found done.
        self.connection_errors: tuple[type[Exception], ...] = (*self.conninfo.connection_errors, AttributeError)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long it takes; Kombu calls back each second while it waits for its next try."""
        _beat()
        connect = conn.ensure_connection

        def ensure_connection(errback: Any, max_retries: Any, callback: Callable[[], None]) -> Any:
            def wait() -> None:
                _beat()
                callback()

            return connect(errback, max_retries, callback=wait)

        conn.ensure_connection = ensure_connection
        return super().ensure_connected(conn)

    def register_with_event_loop(self, hub: Any) -> None:
        """After each connection; Celery takes the timer away when it breaks."""
        super().register_with_event_loop(hub)
        hub.call_repeatedly(BEAT_S, _beat)

    def on_ready(self) -> None:
        """After each connection, once messages come."""
        super().on_ready()
        _consuming(consuming=True)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Messages come no more."""
        _consuming(consuming=False)
        try:
            super().on_connection_error_after_connected(exc)
        except (AttributeError, AssertionError) as error:
            # Kombu 5.7 gives back what is in hand over a connection that it has taken apart a moment before, and would
            # end the worker. What is in hand is in SQL, and by now this connection is let go of.
            log.warning("connection not closed in order: %s", error)

    def stop(self) -> None:
        """The same, for good."""
        _consuming(consuming=False)
        super().stop()


def _beat() -> None:
    if Process.health is not None:
        Process.health.beat()


def _consuming(*, consuming: bool) -> None:
    if Process.health is not None:
        Process.health.consuming(consuming=consuming)
