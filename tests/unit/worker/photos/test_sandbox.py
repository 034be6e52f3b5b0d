"""A suspect picture is decoded by a child: to the same pixels, or to the child's death, and never to ours."""

import io
import os
import signal
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.errors import Rejected
from trainer.pixels.preprocess import decode
from worker.core.errors import DecoderError
from worker.core.settings import SandboxSettings
from worker.photos.sandbox import Sandbox
from worker.photos.sandbox_child import ORIGINAL_SIDE

#: What a child does that has a hole in its decoder: it obeys the picture.
OBEYS = """
    import os, signal, time
    from PIL import Image
    opened = Image.open

    def open_(file, *args, **options):
        order = file.getvalue()[-8:]
        if order == b"die now!":
            os.kill(os.getpid(), signal.SIGKILL)
        while order == b"sleep...":
            time.sleep(60)
        while order == b"compute!":
            pass
        if order == b"hoard it":
            bytearray(8 * 1024**3)
        return opened(file, *args, **options)

    Image.open = open_
"""


@pytest.fixture
def isolation() -> Iterator[Sandbox]:
    with Sandbox(SandboxSettings()) as isolation:
        yield isolation


@pytest.fixture
def obedient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children whose Pillow does what a picture orders."""
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(OBEYS))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_the_pixels_are_the_same(isolation: Sandbox, photo: Path) -> None:
    data = photo.read_bytes()
    alone, here = isolation.decode(data), decode(data)
    assert np.array_equal(alone.pixels, here.pixels)
    assert (alone.width, alone.height, alone.format) == (here.width, here.height, here.format)


def test_an_animation_is_known_as_one(isolation: Sandbox) -> None:
    out = io.BytesIO()
    first, *others = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    first.save(out, format="GIF", save_all=True, append_images=others)
    assert isolation.decode(out.getvalue()).animated


def test_an_avif_has_the_same_pixels_and_notes_come_along(isolation: Sandbox) -> None:
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(out, format="AVIF")
    assert np.array_equal(isolation.decode(out.getvalue()).pixels, decode(out.getvalue()).pixels)
    out = io.BytesIO()
    Image.linear_gradient("L").save(out, format="JPEG")
    assert isolation.decode(out.getvalue()[:-2]).notes == ("no_end",)


def test_what_is_refused_is_refused_in_the_same_words(isolation: Sandbox, photo: Path) -> None:
    for data in (b"<!doctype html>", photo.read_bytes()[:20000], b""):
        with pytest.raises(Rejected) as here:
            decode(data)
        with pytest.raises(Rejected) as alone:
            isolation.decode(data)
        assert str(alone.value) == str(here.value)


def test_a_preview_is_a_new_and_small_jpeg_in_the_photos_proportions(isolation: Sandbox, photo: Path) -> None:
    preview = Image.open(io.BytesIO(isolation.preview(photo.read_bytes())))
    assert (preview.format, preview.size) == ("JPEG", (437, 512))
    assert not preview.getexif()


def test_a_thumb_is_a_jpeg_that_is_smaller_still(isolation: Sandbox, photo: Path) -> None:
    data = isolation.thumb(isolation.preview(photo.read_bytes()))
    thumb = Image.open(io.BytesIO(data))
    assert (thumb.format, thumb.size) == ("JPEG", (109, 128))
    assert len(data) < 10_000


def test_an_original_has_the_photos_own_pixels_and_nothing_of_its_file(isolation: Sandbox) -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    Image.linear_gradient("L").resize((2400, 1800)).save(out, "JPEG", exif=exif)
    original = Image.open(io.BytesIO(isolation.original(out.getvalue())))
    assert (original.format, original.size, dict(original.getexif())) == ("JPEG", (2400, 1800), {})


def test_an_original_has_a_limit(isolation: Sandbox) -> None:
    out = io.BytesIO()
    Image.new("RGB", (6000, 3000)).save(out, "JPEG")
    original = Image.open(io.BytesIO(isolation.original(out.getvalue())))
    assert original.size == (ORIGINAL_SIDE, ORIGINAL_SIDE // 2)


@pytest.mark.usefixtures("obedient")
def test_a_picture_that_kills_its_decoder_fails_and_the_next_is_decoded(isolation: Sandbox, photo: Path) -> None:
    with pytest.raises(DecoderError, match=r"decoder_killed: the picture killed the decoder \(exit status -9\)"):
        isolation.decode(photo.read_bytes() + b"die now!")
    assert isolation.decode(photo.read_bytes()).width == 512


@pytest.mark.usefixtures("obedient")
@pytest.mark.parametrize("order", [b"sleep...", b"compute!"])
def test_a_picture_that_takes_too_long_is_given_up(photo: Path, order: bytes) -> None:
    with (
        Sandbox(SandboxSettings(decoder_timeout_s=1)) as isolation,
        pytest.raises(DecoderError, match=r"decoder_timeout: not decoded within 1 s"),
    ):
        isolation.decode(photo.read_bytes() + order)


@pytest.mark.usefixtures("obedient")
def test_a_picture_that_takes_too_much_memory_is_given_up(isolation: Sandbox, photo: Path) -> None:
    with pytest.raises(DecoderError, match=r"decoder_memory: more than 2048 MB"):
        isolation.decode(photo.read_bytes() + b"hoard it")
    assert isolation.decode(photo.read_bytes()).width == 512


def test_pictures_are_decoded_one_at_a_time_by_one_child(isolation: Sandbox, photo: Path) -> None:
    data = photo.read_bytes()
    widths: list[int] = []
    threads = [threading.Thread(target=lambda: widths.append(isolation.decode(data).width)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert widths == [512] * 4


def test_a_child_that_died_in_between_is_replaced(isolation: Sandbox, photo: Path) -> None:
    isolation.decode(photo.read_bytes())
    child = isolation._child  # noqa: SLF001 - to kill it
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert isolation.decode(photo.read_bytes()).width == 512
