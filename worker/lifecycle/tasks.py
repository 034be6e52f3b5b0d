"""The tasks, thin: check what the message says, hand it to the service, and let the return acknowledge it."""

from db.errors import ConflictError
from worker.lifecycle import process
from worker.pipeline import requests
from worker.celery import app
from worker.client import new_image
from worker.broker.messages import FULFIL_REQUESTS, INGEST_IMAGE, SCORE_IMAGES, check_ids, check_numbers, refusals


@app.task(name=SCORE_IMAGES, ignore_result=True)
def score_images(image_ids: list[str]) -> None:
    """Score these images; acknowledged when each has its score or its reason in SQL."""
    process.service().score(check_ids("image_ids", image_ids))


@app.task(name=INGEST_IMAGE, ignore_result=True)
def ingest_image(image_id: str, account_id: str, url: str, policy: str = "default") -> None:
    """Add one image and score it: for senders without a database. Until its row exists nothing protects the message."""
    service = process.service()
    try:
        image = new_image(account_id=account_id, url=url, image_id=image_id, policy=policy)
        service.add(image)
    except ConflictError as error:
        refusals.add("conflict", str(error))
    except ValueError as error:
        refusals.add("bad_id", str(error))
    else:
        service.score([image.id])


@app.task(name=FULFIL_REQUESTS, ignore_result=True)
def fulfil_requests(request_ids: list[int]) -> None:
    """Make the pictures that people asked for; acknowledged when each is kept, or has its reason, in SQL."""
    requests.fulfil(process.service(), check_numbers("request_ids", request_ids))
