"""For upload flows: put a photo in line for scoring, in the transaction that stores the photo.

    with Session(engine) as session, session.begin():
        ...
        enqueue(session, account_id="a-17", url="https://cdn.example.com/a-17.jpg")

The row is what counts, and it commits or rolls back with the caller's work. The message that wakes a worker goes after
the commit; when it cannot (the broker is away, this process dies), a worker's sweeper sends it.
"""

import logging
import uuid
from collections.abc import Sequence

from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from db.work import images
from db.work.images import NewImage, check_new_id, showable, storable
from worker.celery import app
from worker.broker.messages import FULFIL_REQUESTS, SCORE_IMAGES
from worker.core.settings import BrokerSettings

log = logging.getLogger(__name__)

#: Images in one message: a lone upload is a message of its own, a backfill's share one.
IDS_PER_MESSAGE = 32
#: Characters in a URL or path.
MAX_URL = 4096
_WAITING = "unmask_ids"


def enqueue(
    session: Session, *, account_id: str, url: str, image_id: str | None = None, policy: str = "default"
) -> str:
    """Put one photo in line and return its id (a new one, unless given).

    Joins the session's transaction; nothing is sent before it commits. The same image twice is one image.

    Args:
        session: the caller's, on the database that workers use.
        account_id: whose photo it is; at most 128 characters, as all ids.
        url: http(s) on one of the workers' allowed hosts, or a path below their media root.
        image_id: yours, if you have one.
        policy: whose threshold applies.

    Raises:
        ValueError: an id or URL that is empty, too long or not text, or an id with control characters.
        db.errors.ConflictError: the id is known with another account, URL or policy.
    """
    image = new_image(account_id=account_id, url=url, image_id=image_id, policy=policy)
    enqueue_many(session, [image])
    return image.id


def new_image(*, account_id: str, url: str, image_id: str | None = None, policy: str = "default") -> NewImage:
    """A checked image; raises ValueError as `enqueue` does."""
    return NewImage(
        check_new_id("image_id", image_id if image_id is not None else uuid.uuid4().hex),
        check_new_id("account_id", account_id),
        _check_url(url),
        check_new_id("policy", policy),
    )


def enqueue_many(session: Session, new: Sequence[NewImage]) -> int:
    """Put checked photos in line; returns how many were not known yet. As `enqueue`, with fewer, larger messages."""
    added = images.add(session, new, BrokerSettings.load().resend_s)
    session.info.setdefault(_WAITING, []).extend(added)
    if not event.contains(session, "after_commit", _send_waiting):
        event.listen(session, "after_commit", _send_waiting)
        event.listen(session, "after_transaction_end", _forget_waiting)
    return len(added)


def send(image_ids: Sequence[str], sender: Celery = app) -> bool:
    """Wake a worker for these images; False, and a warning, when the broker cannot be reached."""
    return _send(SCORE_IMAGES, "images", image_ids, IDS_PER_MESSAGE, sender)


def send_requests(request_ids: Sequence[int], sender: Celery = app) -> bool:
    """Wake workers for what people asked for, a message each; as `send`."""
    return _send(FULFIL_REQUESTS, "requests", request_ids, 1, sender)


def _send(task: str, what: str, ids: Sequence[str] | Sequence[int], per_message: int, sender: Celery) -> bool:
    try:
        for start in range(0, len(ids), per_message):
            sender.send_task(task, args=[list(ids[start : start + per_message])], retry=False)
    except (OperationalError, OSError) as error:
        log.warning("broker away (%s): %d %s wait for the sweeper", type(error).__name__, len(ids), what)
        return False
    return True


def _send_waiting(session: Session) -> None:
    if not session.in_nested_transaction():  # a savepoint's release commits nothing yet
        send(session.info.pop(_WAITING, []))


def _forget_waiting(session: Session, transaction: SessionTransaction) -> None:
    """What is left when it ends was rolled back. After a savepoint's rollback a message may go that finds no row."""
    if transaction.parent is None:
        session.info.pop(_WAITING, None)


def _check_url(url: object) -> str:
    if not isinstance(url, str) or not 1 <= len(url) <= MAX_URL or not storable(url):
        shown = ascii(str(url)[:80])
        raise ValueError(f"url must be text of 1 to {MAX_URL} characters, without NUL or half characters: {shown}")
    if not showable(url):  # of a table whose quotes do not match, say
        raise ValueError(f"url must be without control characters: {url[:80]!a}")
    return url
