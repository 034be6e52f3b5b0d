"""The Celery app. ``celery -A worker worker`` works as it is.

Redis only wakes workers: the SQL row is the record of work, and the sweeper sends again what was lost. Each setting
here has a measured reason; most are about not losing, not repeating and not hanging.
"""

import os
from typing import Any

from celery import Celery, signals

from worker.broker import transport
from worker.core.settings import BrokerSettings

QUEUE = "unmask"
_settings = BrokerSettings.load()
app = Celery("unmask", include=["worker.lifecycle.tasks"], set_as_current=False)
app.conf.update(
    broker_url=_settings.broker_url,
    broker_transport=transport.NAME,
    broker_use_ssl=transport.tls(_settings.broker_url),
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A broker that answers with an error (read-only, out of memory) is tried again, as one that is away is.
    broker_channel_error_retry=True,
    broker_transport_options={
        "global_keyprefix": "unmask:",
        "visibility_timeout": _settings.visibility_timeout_s,
        # An upload flow does not wait for a broker that is away: the row is committed, and a sweeper sends it.
        "max_retries": 0,
        # A crashed worker's messages come back within seconds, not after 100 (kombu >= 5.7).
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        # Whoever dies while it brings them back (or whose broker does) holds up the next for so long, not for 300 s.
        "unacked_mutex_expire": 10,
        # Without a socket timeout kombu's health checks never run, and a silent broker is waited for without end.
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 15,
    },
    task_default_queue=QUEUE,
    task_acks_late=True,
    task_acks_on_failure=True,
    task_acks_on_timeout=True,
    task_reject_on_worker_lost=False,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    # Threads feed one batch; processes would share none, and break CUDA after the fork.
    worker_pool="threads",
    worker_concurrency=32,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_hijack_root_logger=False,
    worker_consumer="worker.lifecycle.consumer:Consumer",
    worker_send_task_events=False,
    # Whoever can write to the broker could stop workers by it.
    worker_enable_remote_control=False,
)


@signals.import_modules.connect
def _sleep(**_: Any) -> None:
    """In workers only, before torch comes with the tasks: its threads sleep while they have nothing to do.

    OpenMP lets them spin, and take the cores from decoding and from neighbours. With engine "eager", on two busy cores,
    an image took 196 ms of a processor instead of 675.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
