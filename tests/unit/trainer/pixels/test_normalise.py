"""One canvas and one encoding: nothing of how a picture was stored is left, and the guard no longer minds."""

import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from trainer.data.manifest import Example
from trainer.data.shortcut_guard import check_shortcuts
from trainer.errors import Rejected, ShortcutError
from trainer.pixels.file_facts import file_facts
from trainer.pixels.preprocess import SIZE, decode
from trainer.pixels.views import NORMAL_QUALITY, normalise


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth picture of its own colours."""
    colours = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, format_: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def pixels(data: bytes) -> NDArray[np.int16]:
    return np.asarray(Image.open(io.BytesIO(data)), dtype=np.int16)


def make(folder: Path, label: str, number: int, data: bytes) -> Example:
    path = folder / f"{label}{number}"
    path.write_bytes(data)
    return Example(path, fake=label == "fake", engine=label, split="train", group=path.name)


EXIF = Image.Exif()
EXIF[ExifTags.Base.Make] = "Camera"


@pytest.mark.parametrize(
    "data",
    [
        encode(scene(1024, 1024), "PNG"),
        encode(scene(800, 600), quality=97, subsampling="4:4:4", exif=EXIF),
        encode(scene(40, 60).convert("RGBA"), "WEBP", lossless=True),
        encode(scene(300, 200), "GIF"),
    ],
    ids=["PNG", "JPEG", "WebP", "GIF"],
)
def test_every_file_comes_out_alike(data: bytes) -> None:
    found = asdict(file_facts(normalise(data)))

    del found["bytes"], found["bytes_per_pixel"]  # these are what the picture holds
    assert found == {
        "format": "JPEG",
        "width": SIZE,
        "height": SIZE,
        "aspect": 1.0,
        "quality": NORMAL_QUALITY,
        "subsampling": "4:2:0",
        "greyscale": False,
        "alpha": False,
        "exif": False,
    }


def test_the_detector_sees_the_same_picture_as_when_it_serves(photo: Path) -> None:
    served = decode(photo.read_bytes()).pixels.astype(np.int16)

    difference = np.abs(decode(normalise(photo.read_bytes())).pixels - served)

    assert difference.mean() < 3


def test_the_whole_picture_is_kept_and_turned_upright() -> None:
    image = Image.new("RGB", (300, 200), "blue")
    image.paste("red", (0, 0, 300, 20))  # the upper edge, which the camera says is the right one
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6

    upright = pixels(normalise(encode(image, exif=exif, quality=95)))

    assert upright.shape == (SIZE, SIZE, 3)
    assert upright[SIZE // 2, -10].argmax() == 0
    assert upright[SIZE // 2, 10].argmax() == 2


def test_what_is_transparent_becomes_white() -> None:
    assert pixels(normalise(encode(Image.new("RGBA", (64, 64), (0, 0, 0, 0)), "PNG"))).min() >= 254


def test_greyscale_is_in_the_picture_and_stays() -> None:
    assert file_facts(normalise(encode(scene(100, 100).convert("L"), "PNG"))).greyscale


def test_the_same_picture_gives_the_same_bytes(photo: Path) -> None:
    assert normalise(photo.read_bytes()) == normalise(photo.read_bytes())


def test_what_is_no_picture_is_rejected() -> None:
    with pytest.raises(Rejected, match="not_an_image"):
        normalise(b"no picture")


def test_files_that_gave_the_labels_away_no_longer_do(tmp_path: Path) -> None:
    fakes = [make(tmp_path, "fake", n, encode(scene(1024, 1024, n), "PNG", compress_level=1)) for n in range(12)]
    reals = [make(tmp_path, "real", n, encode(scene(800, 600, -n + 99), quality=60 + 3 * n)) for n in range(12)]

    with pytest.raises(ShortcutError, match=r"format \(1\.00\), width \(1\.00\), height \(1\.00\), aspect \(1\.00\)"):
        check_shortcuts([*fakes, *reals])

    guard = check_shortcuts([*fakes, *reals], prepare=normalise)

    assert guard.refused == ()
    assert not guard.accuracy.keys() & {"format", "width", "height", "aspect", "quality", "subsampling", "bytes"}
