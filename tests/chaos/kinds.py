"""The kinds of uploads, and what must become of each. An image's id says its kind and its picture."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Upload:
    """What an image's id says of it."""

    kind: str
    picture: str

    @classmethod
    def of(cls, image_id: str) -> "Upload":
        """Read it from an id."""
        kind, picture, _ = image_id.split(".")
        return cls(kind, picture)

    def new_id(self) -> str:
        """A new id."""
        return f"{self.kind}.{self.picture}.{uuid.uuid4().hex[:16]}"


#: Kind: why it may not be scored; None where it must be. "stored" lies below the media root, the photo server has a
#: behaviour for each other one.
REASONS: Mapping[str, str | None] = {
    "stored": None,
    "served": None,
    "flaky": None,
    "half": "truncated",
    "cut": "truncated",
    "page": "not_an_image",
    "missing": "not_found",
    "moved": "host_not_allowed",
    "endless": "too_many_bytes",
    "busy": "http_status",
    "short": "content_length",
    "reset": "connection",
    "stall": "timeout",
    "dribble": "timeout",
    "killer": "decoder_killed",
    "hog": "decoder_memory",
    "sleeper": "decoder_timeout",
    "odd": "odd_row",
    "old": None,
}

#: Kinds and their weights: what comes in all the time, and what single faults send.
Mix = Mapping[str, int]
STEADY: Mix = {"stored": 40, "served": 40, "flaky": 2, "half": 5, "page": 5, "missing": 5, "cut": 3}
SLOW: Mix = {"stored": 50, "served": 50, "stall": 5, "dribble": 5}
LYING: Mix = {"served": 50, "cut": 5, "endless": 1, "short": 5, "reset": 5, "moved": 5, "busy": 5, "flaky": 10}
SERVED: Mix = {"served": 1}


def poisoned(kind: str) -> Mix:
    """Good photos, and now and then one that is poison to its decoder."""
    return {"stored": 30, "served": 30, kind: 1}


def url_of(image_id: str, photos_url: str) -> str:
    """Where the image lies."""
    upload = Upload.of(image_id)
    return f"{upload.picture}.jpg" if upload.kind == "stored" else f"{photos_url}/{upload.kind}/{image_id}"
