"""A photo that lacks only its end is scored and says so; one that was cut off in the middle still fails."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainer.errors import Rejected
from trainer.pixels.file_end import NO_END, NOTES, TRAILING_BYTES
from trainer.pixels.file_facts import file_facts
from trainer.pixels.preprocess import decode, upright

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.")

NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 255, (120, 160, 3), dtype=np.uint8))
WAVES = Image.fromarray((np.add.outer(np.arange(120) * 3, np.arange(160) * 2) % 200).astype(np.uint8)).convert("RGB")
FLAT = Image.new("RGB", (160, 120), (200, 10, 10))
KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "full colour": {"subsampling": 0},
    "with restarts": {"restart_marker_blocks": 3},
    "with a thumbnail": {"exif": b"Exif\0\0" + b"\xff\xd8\xff\xd9"},
}


def encode(image: Image.Image, format_: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def notes(data: bytes) -> tuple[str, ...] | str:
    try:
        return decode(data).notes
    except Rejected as error:
        return error.reason


@pytest.mark.parametrize("image", [NOISE, WAVES, FLAT, NOISE.convert("L")], ids=["noise", "waves", "flat", "grey"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_without_its_last_bytes_has_the_same_pixels_and_a_note(kind: str, image: Image.Image) -> None:
    whole = encode(image, **KINDS[kind])
    assert notes(whole) == ()
    for data in (whole[:-2], whole[:-1], whole[:-2] + bytes(100), whole[:-2] + bytes(200_000)):
        picture = decode(data)
        assert (picture.pixels == decode(whole).pixels).all()
        assert picture.notes == (NO_END,)
        assert picture.notes[0] in NOTES
    assert upright(whole[:-2]).tobytes() == upright(whole).tobytes()
    assert file_facts(whole[:-2]).quality == file_facts(whole).quality


@settings(max_examples=150, deadline=None)
@given(
    image=st.sampled_from([NOISE, WAVES]),
    kind=st.sampled_from(sorted(KINDS)),
    share=st.floats(0.2, 1.0),
    padding=st.sampled_from([0, 10, 100_000]),
)
def test_a_jpeg_cut_off_in_the_middle_fails_also_when_zeros_follow(
    image: Image.Image, kind: str, share: float, padding: int
) -> None:
    whole = encode(image, **KINDS[kind])
    scan = whole.rindex(b"\xff\xda")
    cut = min(scan + round(share * (len(whole) - scan)), len(whole) - 8)
    assert notes(whole[:cut] + bytes(padding)) == "truncated"


def test_a_progressive_jpeg_that_ends_between_two_scans_fails() -> None:
    whole = encode(NOISE, progressive=True)
    assert notes(whole[: whole.rindex(b"\xff\xda")]) == "truncated"


def test_a_jpeg_cut_off_at_a_restart_fails() -> None:
    whole = encode(NOISE, restart_marker_blocks=3)
    places = [
        place for place in range(whole.index(b"\xff\xda") + 20, len(whole) - 8) if whole[place : place + 1] == b"\xff"
    ]
    for place in places[:: len(places) // 20]:
        assert notes(whole[:place]) == "truncated"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP"])
def test_bytes_behind_the_picture_are_noted(format_: str) -> None:
    whole = encode(WAVES, format_)
    assert notes(whole) == ()
    assert notes(whole + b"a film, say") == (TRAILING_BYTES,)


def test_a_second_picture_behind_a_jpeg_is_nothing_odd() -> None:
    assert notes(encode(WAVES, "MPO", save_all=True, append_images=[NOISE])) == ()


def test_a_png_without_its_end_is_noted_and_without_its_rows_fails() -> None:
    whole = encode(WAVES, "PNG")
    assert notes(whole[:-12]) == (NO_END,)
    assert (decode(whole[:-12]).pixels == decode(whole).pixels).all()
    assert notes(whole[: len(whole) // 2]) == "truncated"


def test_a_large_jpeg_without_its_end_is_compared_at_reduced_scale() -> None:
    whole = encode(WAVES.resize((8000, 6000)), quality=30)
    assert (decode(whole[:-2]).pixels == decode(whole).pixels).all()
    assert notes(whole[: len(whole) // 2]) == "truncated"


def test_a_jpeg_whose_check_would_take_too_long_stays_truncated() -> None:
    data = encode(NOISE, progressive=True)
    place = data.index(b"\xff\xc2") + 5
    claiming = data[:place] + struct.pack(">HH", 6000, 6000) + data[place + 4 :]
    assert notes(claiming[:-2]) == "truncated"
