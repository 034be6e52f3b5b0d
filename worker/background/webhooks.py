"""Webhooks tell the platform of cases and images: signed, retried with growing pauses, and given up visibly."""

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests
from sqlalchemy.orm import Session
from standardwebhooks import Webhook
from urllib3 import Timeout

from db.policy.verdicts import Outcome, VerdictReader
from db.store import locks
from db.store.session import Database
from db.work import deliveries
from db.work.deliveries import LeasedDelivery
from worker.background.events import case_event, image_event
from worker.core.periodic import PeriodicThread
from worker.core.settings import WebhookSettings
from worker.photos.deadline import TimedAdapter
from worker.telemetry import metrics

log = logging.getLogger(__name__)

#: The lock of the dispatcher at work; named as in older releases, which may run at the same time.
LOCK = "courier"
#: Pause when nothing is due; and how long the dispatcher that holds the lock may be silent.
_LOOK_S = 1.0
_SILENT_S = 60.0
#: Deliveries under way at once.
_AT_ONCE = 16
#: The first pause after a failed attempt, its growth by attempt, and the longest.
_FIRST_S, _GROWTH, _LONGEST_S = 5.0, 4.0, 43_200.0


class _NoRedirectSession(requests.Session):
    """A session that honours proxy and CA settings, and neither follows nor reads redirects.

    Its timeout covers the whole answer: one that trickles would hold the dispatcher up past its lock.
    """

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("https://", "http://"):
            self.mount(scheme, TimedAdapter(pool_maxsize=_AT_ONCE))

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        """Always empty: a `requests.Session` reads redirects even when it is told not to follow them."""
        return iter(())


@dataclass(frozen=True, slots=True)
class Message:
    """A request to be made: a leased delivery, and its body as JSON."""

    delivery: LeasedDelivery
    body: str


class WebhookDispatcher(PeriodicThread):
    """Delivers due webhooks, several at once, while it holds the lock.

    The platform gets each delivery at least once, and perhaps out of order: ``webhook-id`` identifies it, and the
    case's version orders it. An image's verdict is that of the moment at which the request is made.
    """

    def __init__(self, database: Database, owner: str, settings: WebhookSettings) -> None:
        super().__init__("webhooks", "webhooks are not delivered", _LOOK_S)
        self._database = database
        self._owner = owner
        self._settings = settings
        self._session = _NoRedirectSession()
        self._verdicts = VerdictReader()

    def listen(self) -> None:
        """If a URL is set, have the database record the chosen kinds from now on; raises `DatabaseError`."""
        if self._settings.webhook_url is not None:
            with self._database.writing() as session:
                deliveries.switch_on(session, self._settings.webhook_events)

    def start(self) -> None:
        """Start the thread if a URL is set."""
        if self._settings.webhook_url is not None:
            super().start()

    def step(self) -> bool:
        """Deliver some webhooks; False when none is due, or another dispatcher is at work."""
        hold_s = _SILENT_S + self._settings.webhook_timeout_s
        with self._database.writing() as session:
            if not locks.acquire(session, LOCK, self._owner, hold_s):
                return False
            leased = deliveries.lease_deliveries(session, hold_s, _AT_ONCE)
            messages = self._messages(session, leased)
        if not messages:
            return bool(leased)
        self._deliver(messages)
        return True

    def release_lock(self) -> None:
        """Let another dispatcher take over at once; raises `DatabaseError`."""
        with self._database.writing() as session:
            locks.release(session, LOCK, self._owner)

    def _messages(self, session: Session, leased: Sequence[LeasedDelivery]) -> list[Message]:
        """The requests to make. A delivery whose message cannot be made is given up; the others go."""
        images = [delivery.image_id for delivery in leased if delivery.image_id is not None]
        outcomes = self._verdicts.find_many(session, images) if images else {}
        messages = []
        for delivery in leased:
            try:
                messages.append(Message(delivery, _body(delivery, outcomes)))
            except (KeyError, ValueError) as error:  # pydantic's, of a value that its column should not hold
                log.warning("webhook %d is given up: its row is odd (%s)", delivery.id, type(error).__name__)
                deliveries.mark_failed(session, delivery.id, f"odd row: {type(error).__name__}", None)
        return messages

    def _deliver(self, messages: Sequence[Message]) -> None:
        with ThreadPoolExecutor(len(messages), "webhook") as pool:
            found = list(pool.map(self._post, messages))
        with self._database.writing() as session:
            for message, why in zip(messages, found, strict=True):
                self._record(session, message.delivery, why)

    def _record(self, session: Session, delivery: LeasedDelivery, why: str | None) -> None:
        if why is None:
            deliveries.mark_delivered(session, delivery.id)
            return
        tries_left = delivery.attempts < self._settings.webhook_max_attempts
        metrics.webhook_retries.inc(int(tries_left))
        deliveries.mark_failed(session, delivery.id, why, backoff_s(delivery.attempts) if tries_left else None)

    def _post(self, message: Message) -> str | None:
        """None when accepted, else why not; without the URL, which may hold a key."""
        body, timeout_s = message.body, self._settings.webhook_timeout_s
        now, secret = datetime.now(UTC), self._settings.webhook_secret or ""
        try:
            answer = self._session.post(
                str(self._settings.webhook_url),
                data=body.encode(),
                headers=signed_headers(message.delivery.id, body, now, secret),
                timeout=Timeout(total=timeout_s, connect=timeout_s, read=timeout_s),  # type: ignore[arg-type]  # its docs allow urllib3's
                allow_redirects=False,  # a platform that moves must be given a new URL
                stream=True,  # the body is not read, however long it is
            )
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the webhook was not accepted
            return type(error).__name__
        answer.close()
        return None if answer.ok and not answer.is_redirect else f"HTTP {answer.status_code}"


def _body(delivery: LeasedDelivery, outcomes: Mapping[str, Outcome]) -> str:
    """The event as JSON; raises KeyError or ValueError for one that no schema has."""
    if delivery.case is not None:
        return case_event(delivery, delivery.case).model_dump_json()
    return image_event(delivery, outcomes[delivery.image_id or ""]).model_dump_json()


def backoff_s(attempts: int) -> float:
    """Seconds until the next attempt; jittered, so that joint failures do not return jointly."""
    return min(_FIRST_S * _GROWTH ** (attempts - 1), _LONGEST_S) * random.uniform(0.9, 1.1)  # noqa: S311


def signed_headers(delivery_id: int, body: str, at: datetime, secret: str) -> dict[str, str]:
    """The headers of the Standard Webhooks scheme: an id that stays the same on every attempt, and an HMAC over all."""
    name = f"msg_{delivery_id}"
    return {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(name, at, body),
    }
