"""Submitted photos: their fields are checked, and they are added to the images that wait for a score."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy.orm import Session

from db.api.context import Call
from db.api.documents import PhotoByUrl, PhotoFields
from db.api.http.problems import ProblemError, invalid
from db.api.sources import check_url
from db.errors import ConflictError, NotFoundError
from db.policy import policies
from db.schema import Image
from db.store.ids import check_new_id
from db.work import images, uploads
from db.work.images import NewImage


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked photo. ``data`` has its bytes, or is None when workers fetch it."""

    image: NewImage
    data: bytes | None = None


def by_url(call: Call, document: bytes) -> Submission:
    """A photo from a JSON document; raises `ProblemError` 422 that names every invalid field."""
    try:
        photo = PhotoByUrl.model_validate_json(document)
    except ValidationError as error:
        raise invalid(_in_words(error)) from None
    check_url(photo.url, call.api.settings)
    return Submission(_image(call, photo, photo.url))


def by_bytes(call: Call, data: bytes, fields: Mapping[str, str]) -> Submission:
    """A photo from its bytes and a form's or query's fields; raises `ProblemError` 422 that names every invalid one."""
    if not data:
        raise invalid("the photo is empty", "empty")
    try:
        photo = PhotoFields.model_validate(dict(fields))
    except ValidationError as error:
        raise invalid(_in_words(error)) from None
    return Submission(_image(call, photo, None, data), data)


def add_photo(session: Session, submission: Submission) -> str:
    """Add the photo unless it is known, and return its state.

    Raises `ProblemError` for an unknown policy, `ConflictError` when the id is another photo's or was deleted.
    """
    image = submission.image
    check_policy(session, image.policy)
    # Nothing is sent: the relay finds the row.
    added = images.add_images(session, [image], 0.0)
    if submission.data is not None and added:
        uploads.store_upload(session, image.id, submission.data)
    row = session.get_one(Image, image.id)
    if row.account_id is None:
        raise deleted(image.id)
    return row.state


def deleted(image_id: str) -> ConflictError:
    """The id of a deleted photo cannot be used again."""
    return ConflictError(f"image {image_id!r} was deleted: submit the photo under another id")


def check_policy(session: Session, name: str) -> None:
    """Raise `ProblemError` 422 for an unknown policy; it says how to add one."""
    try:
        policies.require_policy(session, name)
    except NotFoundError as error:
        raise invalid(str(error), "unknown_policy") from None


def visible(session: Session, call: Call, image_id: str) -> Image:
    """An image that the key may read; raises `ProblemError` 404 for any other, and for a deleted one."""
    row = session.get(Image, image_id)
    if row is None or row.account_id is None or not call.sees(row.policy):
        raise ProblemError(404, "not_found", f"image {image_id!r} is not in the record")
    return row


def _image(call: Call, photo: PhotoFields, url: str | None, data: bytes = b"") -> NewImage:
    policy = photo.policy or call.caller.policy or "default"
    if not call.sees(policy):
        raise ProblemError(
            403, "policy_not_allowed", f"key {call.caller.name} may use the policy {call.caller.policy} only"
        )
    image_id = check_new_id("image_id", photo.image_id or uuid.uuid4().hex)
    account_id = check_new_id("account_id", photo.account_id)
    return NewImage(image_id, account_id, url or uploads.url_of(image_id, data), policy, photo.lane)


def _in_words(error: ValidationError) -> str:
    """Every invalid field and why, without the values: they may be large or personal."""
    found = [(".".join(map(str, each["loc"])) or "the body", each["msg"]) for each in error.errors(include_input=False)]
    return "; ".join(f"{where}: {why}" for where, why in found[:10])
