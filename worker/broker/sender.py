"""Messages that wake workers, by lane: uploads go before a backlog, and both go before backfills.

Redis keeps one list per priority, and workers read the lists in this order.
"""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

from celery import Celery
from kombu import pools
from kombu.exceptions import OperationalError
from redis.exceptions import NoPermissionError, RedisError

from db.redaction import redacted
from db.work.outbox import Lane
from worker.broker.app import PREFIX, QUEUE, app
from worker.broker.messages import FULFIL_REQUESTS, SCORE_IMAGES
from worker.core.broker_urls import shown_brokers
from worker.core.errors import BrokerError

log = logging.getLogger(__name__)

#: Maximum images in one message. A single upload has its own message; images of a backfill share one.
IDS_PER_MESSAGE = 32
#: Priorities among kombu's steps for Redis (0, 3, 6, 9): workers read 0 first.
PRIORITIES = {Lane.UPLOAD: 0, Lane.BACKLOG: 3, Lane.BACKFILL: 6}
#: How long to wait for a connection to the broker, in seconds.
_CONNECTION_S = 2.0


def send(image_ids: Sequence[str], lane: Lane = Lane.UPLOAD, sender: Celery = app) -> bool:
    """Wake workers for these images; False, and a warning, when the broker cannot be reached."""
    return _send(SCORE_IMAGES, "images", image_ids, _per_message(lane, len(image_ids)), PRIORITIES[lane], sender)


def send_requests(request_ids: Sequence[int], sender: Celery = app) -> bool:
    """Wake workers for requests for previews and heatmaps, one message each; returns as `send` does."""
    return _send(FULFIL_REQUESTS, "requests", request_ids, 1, PRIORITIES[Lane.UPLOAD], sender)


def queued(sender: Celery = app) -> dict[Lane, int]:
    """The number of messages that wait in Redis, by lane; raises `BrokerError` when it cannot be reached."""
    # kombu's pool closes a connection that fails. A new connection each second cost 1.3 ms more processor time.
    with pools.connections[sender.connection_for_read()].acquire(block=True, timeout=_CONNECTION_S) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=_CONNECTION_S)
            channel: Any = connection.default_channel  # kombu's Redis channel, whose client adds our key prefix
            return {lane: int(channel.client.llen(_key(channel, lane))) for lane in Lane}
        except (OperationalError, OSError, RedisError) as error:
            raise _unreachable(sender, error) from error


def adopt(limit: int, sender: Celery = app) -> int:
    """Move messages that an ordinary Celery app left in the list "unmask", without our prefix, into ours.

    Such an app sends with ``app.send_task("worker.ingest_image", kwargs={...}, queue="unmask")`` and no other option.
    Returns how many were moved; raises `BrokerError` as `queued` does.
    """
    with pools.connections[sender.connection_for_read()].acquire(block=True, timeout=_CONNECTION_S) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=_CONNECTION_S)
            channel: Any = connection.default_channel
            keys = [_key(channel, lane) for lane in Lane]
            # kombu does not prefix the keys of LMOVE, so they are complete here.
            return sum(_move_all(channel.client, key, PREFIX + key, limit) for key in keys)
        except NoPermissionError as error:
            _warn_once(str(error))
            return 0
        except (OperationalError, OSError, RedisError) as error:
            raise _unreachable(sender, error) from error


def _unreachable(sender: Celery, error: Exception) -> BrokerError:
    return BrokerError(redacted(f"broker {shown_brokers(str(sender.conf.broker_url))} cannot be reached: {error}"))


@cache
def _warn_once(why: str) -> None:
    log.warning("messages that applications sent with Celery are not processed: %s (see deploy/redis/users.acl)", why)


def _move_all(client: Any, source: str, target: str, limit: int) -> int:
    for moved in range(limit):
        if client.lmove(source, target, "RIGHT", "LEFT") is None:
            return moved
    return limit


def _key(channel: Any, lane: Lane) -> str:
    return str(channel._q_for_pri(QUEUE, PRIORITIES[lane]))  # noqa: SLF001 - kombu has no public name for it


def _per_message(lane: Lane, count: int) -> int:
    """Uploads that arrived together are spread over the workers; for other lanes, few messages matter more."""
    return max(1, min(count // IDS_PER_MESSAGE, IDS_PER_MESSAGE)) if lane is Lane.UPLOAD else IDS_PER_MESSAGE


def _send(
    task: str, what: str, ids: Sequence[str] | Sequence[int], per_message: int, priority: int, sender: Celery
) -> bool:
    try:
        for start in range(0, len(ids), per_message):
            sender.send_task(task, args=[list(ids[start : start + per_message])], priority=priority, retry=False)
    except (OperationalError, OSError) as error:
        log.warning("broker unreachable (%s): %d %s are sent again later", type(error).__name__, len(ids), what)
        return False
    return True
