"""How a picture is stored: what the guard is told, for every format that we take."""

import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from trainer.errors import Rejected
from trainer.pixels.file_facts import file_facts


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """A picture of many colours, the same on every machine."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 2, y * 3, 255 - x - y], axis=2).astype(np.uint8))


def encode(image: Image.Image, format_: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def test_a_jpeg_tells_everything() -> None:
    data = encode(scene(), quality=83, subsampling="4:2:2")

    assert asdict(file_facts(data)) == {
        "format": "JPEG",
        "width": 96,
        "height": 64,
        "aspect": 1.5,
        "bytes": len(data),
        "bytes_per_pixel": len(data) / (96 * 64),
        "quality": 83,
        "subsampling": "4:2:2",
        "greyscale": False,
        "alpha": False,
        "exif": False,
    }


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "GIF"])
def test_other_formats_have_neither_quality_nor_subsampling(format_: str) -> None:
    found = file_facts(encode(scene(), format_))

    assert (found.format, found.quality, found.subsampling) == (format_, 0, "none")
    assert (found.width, found.height) == (96, 64)


def test_every_quality_of_libjpeg_is_recognised() -> None:
    found = [file_facts(encode(scene(16, 16), quality=quality)).quality for quality in range(1, 101)]

    assert found == list(range(1, 101))


def test_a_camera_s_own_table_gets_the_nearest_quality() -> None:
    table = [[max(1, step) for step in range(64)]] * 2

    assert 60 <= file_facts(encode(scene(), qtables=table)).quality <= 90


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_chroma_subsampling_is_named(subsampling: str) -> None:
    assert file_facts(encode(scene(), subsampling=subsampling)).subsampling == subsampling


def test_a_jpeg_with_a_second_picture_behind_it_is_a_jpeg() -> None:
    found = file_facts(encode(scene(), "MPO", save_all=True, append_images=[scene()], quality=70))

    assert (found.format, found.quality) == ("JPEG", 70)


@pytest.mark.parametrize(
    ("image", "format_"),
    [
        (scene().convert("L"), "JPEG"),
        (scene().convert("L").convert("RGB"), "JPEG"),
        (scene().convert("L"), "PNG"),
        (scene().convert("LA"), "PNG"),
        (scene().convert("1"), "PNG"),
        (scene().convert("L").convert("RGB"), "WEBP"),
        (scene().convert("L").convert("P"), "GIF"),
        (Image.fromarray(np.arange(96 * 64, dtype=np.uint16).reshape(64, 96)), "PNG"),
    ],
    ids=["grey JPEG", "grey as RGB", "grey PNG", "with alpha", "two levels", "WebP", "palette of greys", "16 bits"],
)
def test_grey_is_seen_however_it_is_stored(image: Image.Image, format_: str) -> None:
    assert file_facts(encode(image, format_)).greyscale


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_little_colour_is_no_greyscale(format_: str) -> None:
    image = scene(512, 512).convert("L").convert("RGB")
    image.paste((200, 120, 90), (0, 0, 64, 64))

    assert not file_facts(encode(image, format_)).greyscale


def test_a_photograph_in_colour_is_no_greyscale(photo: Path) -> None:
    assert not file_facts(photo.read_bytes()).greyscale


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_transparency_is_seen(format_: str) -> None:
    image = scene().convert("RGBA")
    image.putalpha(100)

    assert file_facts(encode(image, format_)).alpha


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_metadata_is_seen(format_: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"

    assert file_facts(encode(scene(), format_, exif=exif)).exif


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"no picture", "not_an_image"),
        (encode(scene(), "TIFF"), "not_an_image"),
        (encode(scene(8, 8)), "side_too_short"),
        (encode(scene(512, 512), "PNG")[:-900], "truncated"),
        (encode(scene(512, 512), quality=95)[:4000], "truncated"),
    ],
    ids=["nothing", "text", "a format that we do not take", "too small", "half a PNG", "half a JPEG"],
)
def test_what_the_detector_would_reject_is_rejected(data: bytes, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        file_facts(data)

    assert caught.value.reason == reason
