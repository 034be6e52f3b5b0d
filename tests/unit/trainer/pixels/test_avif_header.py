"""AVIF is decoded like any photo; what a decoder would allocate is known before; HEIC is refused by name."""

import io
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainer.errors import Rejected
from trainer.pixels.avif_header import coded_pixels, is_avif, is_heic
from trainer.pixels.preprocess import decode

NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 255, (120, 160, 3), dtype=np.uint8))
FLAT = Image.new("RGB", (160, 120), (200, 10, 10))


def encode(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "AVIF", **options)
    return file.getvalue()


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def claiming(data: bytes, width: int, height: int) -> bytes:
    """The file with another size in its own header; its AV1 data keeps its own."""
    place = data.index(b"ispe") + 8
    return data[:place] + struct.pack(">II", width, height) + data[place + 8 :]


def reason(data: bytes) -> str | None:
    try:
        decode(data)
    except Rejected as error:
        return error.reason
    return None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("options", [{}, {"quality": 100, "subsampling": "4:4:4"}, {"quality": 1}], ids=str)
def test_a_photo_of_any_kind_is_decoded(mode: str, options: dict[str, Any]) -> None:
    data = encode(FLAT.convert(mode), **options)
    picture = decode(data)
    assert is_avif(data)
    assert (picture.format, picture.width, picture.height, picture.notes) == ("AVIF", 160, 120, ())
    expected = np.asarray(FLAT.convert(mode).convert("RGB"))[0, 0].astype(int)
    assert np.abs(picture.pixels.astype(int) - expected).max() < 16


def test_transparency_is_counted_and_shows_white() -> None:
    clear = FLAT.convert("RGBA")
    clear.putalpha(0)
    data = encode(clear)
    assert coded_pixels(data) == 2 * 160 * 120
    assert (decode(data).pixels == 255).all()


@pytest.mark.parametrize("size", [(16, 16), (160, 120)])
def test_pictures_larger_than_the_file_says_are_refused_before_they_are_decoded(size: tuple[int, int]) -> None:
    data = claiming(encode(Image.new("RGB", (8000, 6000)), speed=10), *size)
    assert coded_pixels(data) == 48_000_000
    assert reason(data) == "too_many_pixels"


def test_an_animation_is_refused_by_name() -> None:
    data = encode(NOISE, save_all=True, append_images=[FLAT])
    with pytest.raises(Rejected, match="unsupported_format: an animated AVIF"):
        decode(data)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_truncated(share: float) -> None:
    data = encode(NOISE)
    assert reason(data[: int(share * len(data))]) == "truncated"


def test_an_item_that_repeats_the_file_is_refused_before_it_is_put_together() -> None:
    extents = struct.pack(">II", 0, 0) * 5000
    location = struct.pack(">IHHHHH", 0, 0x4400, 1, 1, 0, 5000) + extents
    entry = box(b"infe", b"\2\0\0\0\0\1\0\0av01")
    items = box(b"meta", bytes(4) + box(b"iinf", bytes(4) + b"\0\1" + entry) + box(b"iloc", location))
    data = box(b"ftyp", b"avif\0\0\0\0avif") + items + box(b"mdat", bytes(10_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(Rejected, match="items that overlap"):
            coded_pixels(data)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1"])
def test_heic_is_refused_by_name(brand: bytes) -> None:
    data = b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(100)
    assert is_heic(data)
    with pytest.raises(Rejected, match="unsupported_format: HEIC: convert it to JPEG before the upload"):
        decode(data)


@pytest.mark.parametrize("brand", [b"isom", b"qt  ", b"3gp4"])
def test_a_film_is_no_image(brand: bytes) -> None:
    assert reason(b"\0\0\0\x14ftyp" + brand + b"\0\0\0\0" + brand + bytes(100)) == "not_an_image"


@settings(max_examples=300, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_damaged_file_never_raises_anything_but_a_refusal(changes: list[tuple[int, int]]) -> None:
    data = bytearray(encode(FLAT))
    for place, value in changes:
        data[place % len(data)] = value
    reason(bytes(data))


@given(st.binary(max_size=300))
def test_random_boxes_never_raise_anything_but_a_refusal(rest: bytes) -> None:
    reason(b"\0\0\0\x10ftypavif\0\0\0\0" + rest)
