"""The Celery app. ``celery -A worker worker`` works as it is.

Redis only wakes workers: the SQL row is the record of work, and the relay sends lost messages again. Each setting here
has a measured reason; most prevent lost work, repeated work or hanging.
"""

import os
from typing import Any

from celery import Celery, signals

from worker.broker import transport
from worker.core.settings import BrokerSettings

QUEUE = "unmask"
#: The prefix of each of our keys in Redis: an application's own Celery may use the same database.
PREFIX = "unmask:"
_settings = BrokerSettings.load()
app = Celery("unmask", include=["worker.lifecycle.tasks"], set_as_current=False)
app.conf.update(
    broker_url=_settings.broker_url,
    broker_transport=transport.NAME,
    broker_use_ssl=transport.tls(_settings.broker_url),
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A broker that answers with an error (read-only, out of memory) is retried like one that is unreachable.
    broker_channel_error_retry=True,
    broker_transport_options={
        "global_keyprefix": PREFIX,
        "visibility_timeout": _settings.visibility_timeout_s,
        # The relay does not wait for an unreachable broker: it sends again at a later step.
        "max_retries": 0,
        # A crashed worker's messages come back within seconds, not after 100 (kombu >= 5.7).
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        # A worker that dies while it restores them (or whose broker does) blocks the next for 10 s, not for 300 s.
        "unacked_mutex_expire": 10,
        # Without a socket timeout kombu's health checks never run, and a silent broker is waited for indefinitely.
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
    # Threads feed one batch; processes would share none, and forking breaks CUDA.
    worker_pool="threads",
    worker_concurrency=32,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_hijack_root_logger=False,
    worker_consumer="worker.lifecycle.consumer:Consumer",
    worker_send_task_events=False,
    # Anyone who can write to the broker could stop workers through it.
    worker_enable_remote_control=False,
)


@signals.import_modules.connect
def _sleep(**_: Any) -> None:
    """Let torch's idle threads sleep; in workers only, before the tasks import torch.

    By default OpenMP lets them spin, which takes the cores from decoding and from other processes. With engine "eager",
    on two busy cores, an image took 196 ms of a processor instead of 675.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
