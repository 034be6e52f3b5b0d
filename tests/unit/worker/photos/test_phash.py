"""Copies of a photo look like it, and other photos do not; a worker remembers how flagged photos look."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from sqlalchemy import select

from db.policy import thresholds
from db.review.lookalikes import HASH_BYTES, MAX_BITS
from db.schema import PerceptualHash
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from trainer.pixels.preprocess import decode
from worker.photos.phash import perceptual_hash
from worker.pipeline.service import Service


def saved(image: Image.Image, quality: int = 90) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=quality)
    return out.getvalue()


def bits(one: bytes, other: bytes) -> int:
    """The least distance of one to the other or to its mirror image."""
    own = int.from_bytes(one[:HASH_BYTES])
    return min((own ^ int.from_bytes(half)).bit_count() for half in (other[:HASH_BYTES], other[HASH_BYTES:]))


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((128, 150)),
        lambda image: image.resize((64, 75)),
        ImageOps.mirror,
        lambda image: Image.open(io.BytesIO(saved(image, 20))),
    ],
    ids=["128 px", "64 px", "mirrored", "JPEG 20"],
)
def test_a_copy_looks_like_the_photo(photo: Path, change: Callable[[Image.Image], Image.Image]) -> None:
    original = perceptual_hash(decode(photo.read_bytes()).pixels)
    copy = perceptual_hash(decode(saved(change(Image.open(photo)))).pixels)
    assert bits(copy, original) <= MAX_BITS


def test_another_photo_does_not(photo: Path) -> None:
    upside_down = saved(Image.open(photo).rotate(180))
    one, other = (perceptual_hash(decode(data).pixels) for data in (photo.read_bytes(), upside_down))
    assert len(one) == 2 * HASH_BYTES
    assert bits(one, other) > MAX_BITS


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_how_a_photo_looks_is_kept_when_it_is_flagged_and_only_then(
    database: Database, service: Service, value: float
) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage("a", "acc", "a.jpg")], 60)
        thresholds.set_value(session, service.models.pair.active.served.id, "default", value, "ada", "")
    service.models.follow()
    service.score(["a"])
    with database.reading() as session:
        assert session.scalars(select(PerceptualHash.image_id)).all() == (["a"] if value == 0 else [])
