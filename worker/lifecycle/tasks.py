"""The Celery tasks: each hands a message to the service, and its return acknowledges the message.

`worker.broker.transport` has checked every message before it comes here.
"""

from db.errors import ConflictError
from worker.broker.app import app
from worker.broker.messages import FULFIL_REQUESTS, INGEST_IMAGE, SCORE_IMAGES
from worker.client import new_image
from worker.lifecycle import process
from worker.pipeline import on_demand
from worker.telemetry.refusals import refusals


@app.task(name=SCORE_IMAGES, ignore_result=True, shared=False)
def score_images(image_ids: list[str]) -> None:
    """Score these images; acknowledged when each has its score or its reason in SQL."""
    process.service().score(image_ids)


@app.task(name=INGEST_IMAGE, ignore_result=True, shared=False)
def ingest_image(image_id: str, account_id: str, url: str, policy: str = "default") -> None:
    """Insert one image and score it, for senders without a database; until its row exists the message can be lost."""
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


@app.task(name=FULFIL_REQUESTS, ignore_result=True, shared=False)
def fulfil_requests(request_ids: list[int]) -> None:
    """Do what people asked for; acknowledged when each request has its result or its reason in SQL."""
    on_demand.fulfil(process.service(), request_ids)
