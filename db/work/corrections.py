"""A new URL for an image without a score, for example after a signed URL expired: the image waits again.

An id stands for one photo, and a photo has one score of each model. So a scored image keeps its URL, and a photo that
its owner replaced is another image.
"""

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from db.errors import ConflictError
from db.schema import Image, Score, Upload
from db.schema.clock import moment


def change_url(session: Session, image_id: str, url: str) -> bool:
    """Give an image a new URL and all its attempts again; False when it has this URL already.

    Raises `ConflictError` when the image is scored or was deleted.
    """
    image = session.get_one(Image, image_id, with_for_update=True)
    if image.url == url:
        return False
    if image.url is None:
        raise ConflictError(f"image {image_id!r} was deleted: submit the photo under another id")
    if session.scalar(select(exists().where(Score.image_id == image_id))):
        raise ConflictError(f"image {image_id!r} has a score, and an id stands for one photo: submit it as a new image")
    fresh = {"attempts": 0, "losses": 0, "sends": 0, "reason": None, "detail": None}
    free = {"lease_owner": None, "lease_until": None, "next_attempt_at": moment(), "changed_at": moment()}
    statement = update(Image).where(Image.id == image_id).values(url=url, state="pending", **fresh, **free)
    session.execute(statement.execution_options(synchronize_session=False))
    session.execute(delete(Upload).where(Upload.image_id == image_id))  # workers fetch the photo from its URL now
    return True
