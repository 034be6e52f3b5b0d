"""The bytes of photos that were submitted over HTTP. The database keeps them, so that machines share no disk.

An image with bytes has a URL of the form ``upload:SHA256:IMAGE``. Triggers delete the bytes when an image fails for
good, is erased, or its case is closed; `forget_unflagged` deletes them when it is scored and belongs to no open case.
"""

import hashlib
from collections.abc import Collection

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from db.schema import Case, Flag, Upload

_SCHEME = "upload:"


def url_of(image_id: str, data: bytes) -> str:
    """The URL of an image that was submitted with these bytes."""
    return f"{_SCHEME}{hashlib.sha256(data).hexdigest()}:{image_id}"


def is_upload(url: str) -> bool:
    """Whether a URL stands for bytes in the database."""
    return url.startswith(_SCHEME)


def store_upload(session: Session, image_id: str, data: bytes) -> None:
    """Store the bytes of an image that was just added."""
    session.add(Upload(image_id=image_id, data=data))
    session.flush()


def read_upload(session: Session, url: str) -> bytes | None:
    """The bytes behind such a URL; None when they were deleted."""
    image_id = url.removeprefix(_SCHEME).partition(":")[2]
    return session.scalar(select(Upload.data).where(Upload.image_id == image_id))


def forget_unflagged(session: Session, image_ids: Collection[str]) -> None:
    """Delete the bytes of these scored images, except those of an open case, which reviewers need."""
    if not image_ids:
        return
    open_case = select(Flag.id).join(Case).where(Flag.image_id == Upload.image_id, Case.state == "open")
    statement = delete(Upload).where(Upload.image_id.in_(image_ids), ~exists(open_case))
    session.execute(statement.execution_options(synchronize_session=False))


def stored_bytes(session: Session) -> int:
    """The number of bytes that are stored for all images together."""
    return session.scalar(select(func.coalesce(func.sum(func.length(Upload.data)), 0))) or 0
