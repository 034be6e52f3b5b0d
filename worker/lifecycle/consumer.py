"""Celery's consumer, whose loop writes a heartbeat, also while it waits for an unreachable broker.

A heartbeat from another thread would go on while the loop hangs; ``celery inspect ping`` needs the broker.
"""

import logging
from collections.abc import Callable
from typing import Any

from celery.worker import consumer

from worker.lifecycle.process import Process
from worker.telemetry.health import BEAT_S

log = logging.getLogger(__name__)


class Consumer(consumer.Consumer):
    """Celery's consumer with heartbeats in the health file. Its base has no types."""

    conninfo: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Kombu 5.7 acknowledges over a connection that it has taken apart when the broker went away meanwhile, which
        # would end the worker. A message acknowledged in vain is delivered again, and found done.
        self.connection_errors: tuple[type[Exception], ...] = (*self.conninfo.connection_errors, AttributeError)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long it takes; kombu calls back each second while it waits for its next attempt."""
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
        """Start the heartbeat; called after each connection, since Celery removes the timer when one breaks."""
        super().register_with_event_loop(hub)
        hub.call_repeatedly(BEAT_S, _beat)

    def on_ready(self) -> None:
        """Report that messages come; called after each connection."""
        super().on_ready()
        _consuming(consuming=True)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Report that no more messages come, then reconnect."""
        _consuming(consuming=False)
        try:
            super().on_connection_error_after_connected(exc)
        except (AttributeError, AssertionError) as error:
            # Kombu 5.7 returns unacknowledged messages over a connection that it has taken apart a moment before, which
            # would end the worker. Their images are recorded in SQL, and by now this connection is released.
            log.warning("the broker connection was not closed cleanly: %s", error)

    def stop(self) -> None:
        """Report that no more messages come, and stop."""
        _consuming(consuming=False)
        super().stop()


def _beat() -> None:
    if Process.health is not None:
        Process.health.beat()


def _consuming(*, consuming: bool) -> None:
    if Process.health is not None:
        Process.health.consuming(consuming=consuming)
