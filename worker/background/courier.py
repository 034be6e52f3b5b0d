"""Tells the platform what becomes of cases: signed, tried again with growing pauses, and given up visibly."""

import json
import logging
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from standardwebhooks import Webhook
from urllib3 import Timeout

from db.store import locks
from db.work import deliveries
from db.work.deliveries import Message
from db.store.session import Database
from worker.telemetry import metrics
from worker.core.beside import Beside
from worker.photos.deadline import TIMED_POOLS
from worker.core.settings import WebhookSettings

log = logging.getLogger(__name__)

#: The lock of the courier that works.
LOCK = "courier"
#: How often it looks, and how long another may be silent that works.
_LOOK_S = 1.0
_SILENT_S = 60.0
#: The first pause after an attempt that failed, how it grows, and the longest.
_FIRST_S, _GROWTH, _LONGEST_S = 5.0, 4.0, 43_200.0


class _Timed(HTTPAdapter):
    """Its timeout is for all of an answer: one that trickles would hold the courier up past its lock."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = TIMED_POOLS


class _Unmoved(requests.Session):
    """With the environment's proxies and authorities. Of where it is sent instead it reads nothing, nor of the body."""

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Timed())

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        """None: a `requests.Session` looks at them even when it is told not to follow."""
        return iter(())


class Courier(Beside):
    """Delivers what is due, while it is the one that does.

    Each delivery comes at least once, and perhaps out of order: its ``webhook-id`` and the case's version tell.
    """

    def __init__(self, database: Database, owner: str, settings: WebhookSettings) -> None:
        super().__init__("courier", "the platform is told nothing", _LOOK_S)
        self._database = database
        self._owner = owner
        self._settings = settings
        self._session = _Unmoved()

    def listen(self) -> None:
        """If there is somebody to tell, what becomes of cases from now on is written down."""
        if self._settings.webhook_url is not None:
            with self._database.writing() as session:
                deliveries.switch_on(session)

    def start(self) -> None:
        """Begin, if there is somebody to tell."""
        if self._settings.webhook_url is not None:
            super().start()

    def step(self) -> bool:
        """Deliver one thing; False when nothing is due, or another courier is at work."""
        hold_s = _SILENT_S + self._settings.webhook_timeout_s
        with self._database.writing() as session:
            if not locks.hold(session, LOCK, self._owner, hold_s):
                return False
            message = deliveries.take(session, hold_s)
        if message is None:
            return False
        self._deliver(message)
        return True

    def resign(self) -> None:
        """Leave the work to the next without making it wait."""
        with self._database.writing() as session:
            locks.let_go(session, LOCK, self._owner)

    def _deliver(self, message: Message) -> None:
        why = self._post(message)
        with self._database.writing() as session:
            if why is None:
                deliveries.done(session, message.id)
            else:
                tries_left = message.attempts < self._settings.webhook_max_attempts
                metrics.webhook_retries.inc(int(tries_left))
                deliveries.failed(session, message.id, why, pause_s(message.attempts) if tries_left else None)

    def _post(self, message: Message) -> str | None:
        """None, or why it was not taken, without the URL, which may hold a key."""
        body, timeout_s = body_of(message), self._settings.webhook_timeout_s
        try:
            answer = self._session.post(
                str(self._settings.webhook_url),
                data=body.encode(),
                headers=signed(message.id, body, datetime.now(UTC), self._settings.webhook_secret or ""),
                timeout=Timeout(total=timeout_s, connect=timeout_s, read=timeout_s),  # type: ignore[arg-type]  # so say its docs
                allow_redirects=False,  # whoever moves says so by a new URL
                stream=True,  # what it says is of no interest, however long it is
            )
        except Exception as error:  # noqa: BLE001 - whatever its answer is like, it was not taken
            return type(error).__name__
        answer.close()
        return None if answer.ok and not answer.is_redirect else f"HTTP {answer.status_code}"


def pause_s(attempts: int) -> float:
    """How long after so many attempts the next comes: spread, so that what failed together does not come together."""
    return min(_FIRST_S * _GROWTH ** (attempts - 1), _LONGEST_S) * random.uniform(0.9, 1.1)  # noqa: S311


def body_of(message: Message) -> str:
    """What the platform is told, as JSON."""
    data = {
        "case": message.case_id,
        "version": message.version,
        "account": message.account_id,
        "policy": message.policy,
        "images": message.image_ids,
    }
    return json.dumps({"type": f"case.{message.event}", "timestamp": message.at.isoformat(), "data": data})


def signed(delivery_id: int, body: str, at: datetime, secret: str) -> dict[str, str]:
    """The headers of the Standard Webhooks scheme: the same id however often it is told, and an HMAC over all."""
    name = f"msg_{delivery_id}"
    return {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(name, at, body),
    }
