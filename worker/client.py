"""For upload flows in Python: enter a photo in the transaction that stores it. Nothing is sent and nothing is opened.

    with Session(engine) as session, session.begin():
        ...
        enqueue(session, account_id="a-17", url="https://cdn.example.com/a-17.jpg")

The row is all that an upload flow writes; it commits or rolls back with the caller's work. A worker's relay sees it
after the commit. Applications that do not want this package use ``unmask_client`` (deploy/clients/python).
"""

import uuid
from collections.abc import Sequence

from sqlalchemy.orm import Session

from db.settings import DatabaseSettings
from db.store.ids import check_new_id, showable, storable
from db.work import images
from db.work.images import NewImage

#: Characters in a URL or path.
MAX_URL = 4096


def enqueue(
    session: Session,
    *,
    account_id: str,
    url: str,
    image_id: str | None = None,
    policy: str = "default",
    lane: str = "upload",
) -> str:
    """Enter one photo to be scored and return its id (a new one, unless given).

    Joins the session's transaction. The same image twice is one image. On PostgreSQL the session may be on any
    connection to the database that holds our schema (``UNMASK_DB_SCHEMA``).

    Args:
        session: the caller's, on the database that workers use.
        account_id: whose photo it is; at most 128 characters, as all ids.
        url: http(s) on one of the workers' allowed hosts, or a path below their media root.
        image_id: yours, if you have one.
        policy: whose threshold applies.
        lane: "upload" when somebody waits for the score, "backfill" for what can wait behind all uploads.

    Raises:
        ValueError: an id or URL that is empty, too long or not text, an id with control characters, an unknown lane.
        db.errors.ConflictError: the id is known with another account, URL or policy.
    """
    image = new_image(account_id=account_id, url=url, image_id=image_id, policy=policy, lane=lane)
    enqueue_many(session, [image])
    return image.id


def new_image(
    *, account_id: str, url: str, image_id: str | None = None, policy: str = "default", lane: str = "upload"
) -> NewImage:
    """A checked image; raises ValueError as `enqueue` does."""
    return NewImage(
        check_new_id("image_id", image_id if image_id is not None else uuid.uuid4().hex),
        check_new_id("account_id", account_id),
        _check_url(url),
        check_new_id("policy", policy),
        images.check_lane(lane),
    )


def enqueue_many(session: Session, new: Sequence[NewImage]) -> int:
    """Enter checked photos; returns how many were not known yet. Raises ConflictError as `enqueue` does."""
    return len(images.add_images(session, new, schema=DatabaseSettings.load().db_schema))


def _check_url(url: object) -> str:
    if not isinstance(url, str) or not 1 <= len(url) <= MAX_URL or not storable(url):
        shown = ascii(str(url)[:80])
        raise ValueError(f"url must be text of 1 to {MAX_URL} characters, without NUL or lone surrogates: {shown}")
    if not showable(url):  # of a table whose quotes do not match, say
        raise ValueError(f"url must be without control characters: {url[:80]!a}")
    return url
