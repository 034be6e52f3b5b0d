"""The tasks, thin: check what the message says, hand it to the service, and let the return acknowledge it."""

import logging
from typing import TypeVar

from db.errors import ConflictError
from db.images import check_id
from worker import process, requests
from worker.celery import app
from worker.client import FULFIL_REQUESTS, SCORE_IMAGES, new_image

log = logging.getLogger(__name__)

Id = TypeVar("Id")

#: Ids in one message; more is a mistake or an attack.
MAX_IDS = 1000


@app.task(name=SCORE_IMAGES, ignore_result=True)
def score_images(image_ids: list[str]) -> None:
    """Score these images; acknowledged when each has its score or its reason in SQL."""
    process.service().score([check_id("image_id", image_id) for image_id in _bounded(image_ids)])


@app.task(name="worker.ingest_image", ignore_result=True)
def ingest_image(image_id: str, account_id: str, url: str, policy: str = "default") -> None:
    """Add one image and score it: for senders without a database. Until its row exists nothing protects the message."""
    service = process.service()
    try:
        image = new_image(account_id=account_id, url=url, image_id=image_id, policy=policy)
        service.add(image)
    except (ConflictError, ValueError) as error:
        log.warning("message refused: %s", error)
    else:
        service.score([image.id])


@app.task(name=FULFIL_REQUESTS, ignore_result=True)
def fulfil_requests(request_ids: list[int]) -> None:
    """Make the pictures that people asked for; acknowledged when each is kept, or has its reason, in SQL."""
    requests.fulfil(process.service(), [_number(request_id) for request_id in _bounded(request_ids)])


def _bounded(ids: list[Id]) -> list[Id]:
    """Whoever can write to the broker can call a task: nothing is believed."""
    if not isinstance(ids, list) or len(ids) > MAX_IDS:
        raise ValueError(f"ids must be a list of at most {MAX_IDS}")
    return ids


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError(f"request id must be a number: {str(value)[:80]!r}")  # noqa: TRY004 - as for other ids
    return value
