"""The only decoder in the house: what it takes, what it refuses and why, and which pixels come out."""

import hashlib
import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image

from trainer.errors import Rejected
from trainer.pixels.limits import LIMITS, Limits, check_bytes
from trainer.pixels.preprocess import FINGERPRINT, SIZE, Pixels, decode

# As in production, see preprocess: Pillow's warnings are no news. (pytest resets the filters that a module sets.)
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.")

REASONS = {
    "empty",
    "too_many_bytes",
    "not_an_image",
    "too_many_pixels",
    "side_too_long",
    "side_too_short",
    "too_elongated",
    "too_many_scans",
    "too_many_parts",
    "metadata_too_large",
    "unsupported_format",
    "truncated",
    "corrupt",
}
RED, LIME, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: SHA-256 of the pixels that come out, for each fingerprint that we ever had.
GOLDEN = {
    "unmask-1-512-draft-bilinear-white": {
        "photo": "7656bfa27cda4a28169a485f624309a533c8844483970aa6e0bf601bc34ea1ff",
        "JPEG": "6b286644daf263a6225c5e0af55f1af80e1bbc6882461d779e2aa7922a8114fa",
        "PNG": "6ec0fe50724be2ae590e5c6c2006d6fd0650edabeed42d368591b094a78ca85c",
        "WEBP": "fcb426a58ba526cebfdb2c27ae1a52dd763afb2a0b27d06e7d70f8beac63ef7d",
        "transparent": "3b5ebb94d81147f9f4edebce131ccc06cb610a355cdb4c59faadb70e70f5c24d",
        "sixteen bits": "330a50662dce1463289774528cbde7248f0f036bb482d2f123b1fa63da1565b3",
        "ink": "94a5ba6d2f3184152ecd074c894c40cfa3a61f3bf1b0326091c05d35cdc92a07",
    },
}


def encode(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def noise(width: int = 64, height: int = 48) -> Image.Image:
    """Much detail in few bytes of code; the same on every machine."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 7 + y, x * y, x + y * 5], axis=2).astype(np.uint8))


def quarters(width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """A picture whose corners are red, lime, blue and white, from the upper left as one reads."""
    picture = np.full((height, width, 3), WHITE, np.uint8)
    picture[: height // 2, : width // 2] = RED
    picture[: height // 2, width // 2 :] = LIME
    picture[height // 2 :, : width // 2] = BLUE
    return picture


def halves(left: object, right: object, mode: str) -> Image.Image:
    image = Image.new(mode, (64, 64), right)  # type: ignore[arg-type]
    image.paste(left, (0, 0, 32, 64))  # type: ignore[arg-type]
    return image


def corners(pixels: Pixels) -> list[tuple[int, ...]]:
    """The colour near each corner, from the upper left as one reads."""
    return [tuple(map(int, pixels[y, x])) for y in (32, SIZE - 32) for x in (32, SIZE - 32)]


def near(found: tuple[int, ...] | Pixels, wanted: tuple[int, ...], levels: int = 3) -> bool:
    return bool((np.abs(np.asarray(found).astype(int) - np.asarray(wanted)) <= levels).all())


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG that claims any size, whatever its data."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return SIGNATURE + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def odd_chunk() -> bytes:
    """A PNG whose data is broken off by a chunk whose name is none."""
    return png(64, 64, zlib.compress(bytes(64 * 193))[:10]).replace(chunk(b"IEND", b""), chunk(b"Z\3Z\3", b"x"))


def jpeg_claiming(width: int, height: int) -> bytes:
    """A small JPEG whose header claims another size."""
    data = encode(noise(), "JPEG")
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


def with_exif(image: Image.Image, format_: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"quality": 75, "subsampling": 0} if format_ == "JPEG" else {"lossless": True}
    return encode(image, format_, exif=exif, **options)


def broken_exif(offset: int) -> bytes:
    """A JPEG of four corners, turned by its EXIF, of which two bytes are wrong."""
    data = bytearray(with_exif(Image.fromarray(quarters()), "JPEG", 6))
    start = data.index(b"Exif\0\0") + 6 + offset
    data[start : start + 2] = b"\xff\xff"
    return bytes(data)


def animated(format_: str, **options: object) -> bytes:
    first, *others = [Image.new("RGB", (64, 48), colour) for colour in (RED, LIME, BLUE)]
    return encode(first, format_, save_all=True, append_images=others, **options)


SAMPLES = {
    "JPEG": encode(noise(), "JPEG", quality=20),
    "progressive": encode(noise(), "JPEG", quality=20, progressive=True),
    "PNG": encode(noise().quantize(8), "PNG"),
    "WEBP": encode(noise(), "WEBP", quality=5),
    "GIF": encode(noise().quantize(8), "GIF"),
    "EXIF": with_exif(noise(), "JPEG", 6),
    "MPO": animated("MPO"),
    "APNG": animated("PNG"),
    "moving GIF": animated("GIF"),
    "moving WEBP": animated("WEBP"),
}


def refusal(data: bytes, limits: Limits = LIMITS) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decode(data, limits)
    return caught.value


class TestEveryFormat:
    @pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF"])
    def test_a_photo_of_every_format_comes_out_as_512_by_512_rgb(self, format_: str) -> None:
        picture = decode(encode(Image.fromarray(quarters()), format_))

        assert picture.pixels.shape == (SIZE, SIZE, 3)
        assert picture.pixels.dtype == np.uint8
        assert (picture.width, picture.height, picture.format) == (64, 48, format_)
        assert all(map(near, corners(picture.pixels), [RED, LIME, BLUE, WHITE], [30] * 4))

    @pytest.mark.parametrize(("format_", "named"), [("GIF", "GIF"), ("WEBP", "WEBP"), ("PNG", "PNG"), ("MPO", "MPO")])
    def test_of_a_moving_picture_only_the_first_frame_is_seen(self, format_: str, named: str) -> None:
        picture = decode(animated(format_))

        assert picture.format == named
        assert near(picture.pixels, RED)
        assert picture.animated == (format_ != "MPO"), "where phones keep depth beside the photo"

    @pytest.mark.parametrize("sample", ["JPEG", "PNG", "WEBP", "GIF"])
    def test_a_photo_is_no_animation(self, sample: str) -> None:
        assert not decode(SAMPLES[sample]).animated

    @pytest.mark.parametrize("after", [b"\x00", b"\x2c" + bytes(9), b"\x21\xf9\x04", b"\x2c\xff\xff" * 5])
    def test_rubbish_after_the_first_frame_of_a_gif_costs_no_photo(self, after: bytes) -> None:
        whole = decode(SAMPLES["GIF"])
        cut = decode(SAMPLES["GIF"].removesuffix(b";") + after)
        assert np.array_equal(cut.pixels, whole.pixels)

    @pytest.mark.parametrize(
        ("mode", "left", "right", "expected_left", "expected_right"),
        [
            ("RGB", RED, BLUE, RED, BLUE),
            ("L", 10, 200, (10, 10, 10), (200, 200, 200)),
            ("1", 0, 1, (0, 0, 0), WHITE),
            ("RGBA", (*RED, 255), (*RED, 0), RED, WHITE),
            ("RGBA", (*RED, 128), (*BLUE, 64), (255, 127, 127), (191, 191, 255)),
            ("LA", (100, 255), (100, 0), (100, 100, 100), WHITE),
            ("LA", (0, 128), (0, 64), (127, 127, 127), (191, 191, 191)),
        ],
    )
    def test_every_mode_of_png_becomes_rgb_over_white(
        self,
        mode: str,
        left: object,
        right: object,
        expected_left: tuple[int, ...],
        expected_right: tuple[int, ...],
    ) -> None:
        pixels = decode(encode(halves(left, right, mode), "PNG")).pixels

        assert near(pixels[:, :240], expected_left, levels=1)
        assert near(pixels[:, 272:], expected_right, levels=1)

    @pytest.mark.parametrize(
        ("transparency", "expected_left"), [(0, WHITE), (bytes([0, 255]), WHITE), (bytes([128, 255]), (255, 127, 127))]
    )
    def test_transparent_palette_entries_show_white(
        self, transparency: int | bytes, expected_left: tuple[int, ...]
    ) -> None:
        image = halves(0, 1, "P")
        image.putpalette([*RED, *BLUE])

        pixels = decode(encode(image, "PNG", transparency=transparency)).pixels

        assert near(pixels[:, :240], expected_left, levels=1)
        assert near(pixels[:, 272:], BLUE, levels=1)

    def test_a_transparent_gif_shows_white(self) -> None:
        image = halves(0, 1, "P")
        image.putpalette([*RED, *BLUE])

        pixels = decode(encode(image, "GIF", transparency=0)).pixels

        assert near(pixels[:, :240], WHITE)
        assert near(pixels[:, 272:], BLUE)

    def test_the_colour_hidden_behind_transparency_does_not_bleed(self) -> None:
        pixels = decode(encode(halves((*RED, 255), (*LIME, 0), "RGBA"), "PNG")).pixels.astype(int)

        assert np.abs(pixels[..., 1] - pixels[..., 2]).max() <= 1, "green where only red fades to white"

    def test_sixteen_bits_are_scaled_and_not_clipped(self) -> None:
        values = np.full((64, 64), 0x1234, np.uint16)
        values[:, 32:] = 0xF0FF

        pixels = decode(encode(Image.fromarray(values), "PNG")).pixels

        assert near(pixels[:, :240], (0x12, 0x12, 0x12), levels=0)
        assert near(pixels[:, 272:], (0xF0, 0xF0, 0xF0), levels=0)

    def test_sixteen_bits_need_no_more_memory_than_the_limit_on_pixels_allows_for(self) -> None:
        data = encode(Image.fromarray(np.zeros((1000, 1000), np.uint16)), "PNG")
        decode(data)

        tracemalloc.start()
        decode(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert peak < 8 * 1000 * 1000

    @pytest.mark.parametrize(
        ("cmyk", "rgb"),
        [
            ((0, 255, 255, 0), RED),
            ((255, 255, 0, 0), BLUE),
            ((0, 0, 0, 0), WHITE),
            ((0, 0, 0, 255), (0, 0, 0)),
            ((40, 80, 120, 60), (164, 134, 103)),
        ],
    )
    @pytest.mark.parametrize("transform", ["CMYK", "YCCK"])
    def test_ink_becomes_light(self, transform: str, cmyk: tuple[int, ...], rgb: tuple[int, ...]) -> None:
        image = Image.new("CMYK", (64, 64), cmyk)
        data = ycck(image) if transform == "YCCK" else encode(image, "JPEG", quality=100)

        assert near(decode(data).pixels, rgb, levels=4)


def ycck(image: Image.Image) -> bytes:
    """A CMYK picture as Photoshop writes it: C, M and Y as if they were RGB, in YCbCr, all of it upside down."""
    cyan, magenta, yellow, black = image.split()
    y, cb, cr = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
    stored = Image.merge("CMYK", [*(band.point(lambda level: 255 - level) for band in (y, cb, cr)), black])
    data = bytearray(encode(stored, "JPEG", quality=100))
    data[data.index(b"Adobe") + 11] = 2  # the marker's "transform": 0 is CMYK, 2 is YCCK
    return bytes(data)


#: What the EXIF standard says: which side of the scene the first stored row and the first stored column are.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


class TestOrientation:
    @staticmethod
    def stored(upright: NDArray[np.uint8], row: str, column: str) -> Image.Image:
        """The scene as a camera held that way stores it."""
        if row in ("left", "right"):
            upright = upright.transpose(1, 0, 2)
        if row in ("bottom", "right"):
            upright = upright[::-1]
        if column in ("bottom", "right"):
            upright = upright[:, ::-1]
        return Image.fromarray(np.ascontiguousarray(upright))

    @pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_however_the_camera_was_held_the_picture_is_upright(self, orientation: int, format_: str) -> None:
        stored = self.stored(quarters(), *SIDES[orientation])

        pixels = decode(with_exif(stored, format_, orientation)).pixels

        assert all(map(near, corners(pixels), [RED, LIME, BLUE, WHITE]))

    @pytest.mark.parametrize("orientation", range(2, 9))
    def test_turning_moves_pixels_and_changes_none(self, orientation: int) -> None:
        upright = np.asarray(noise())
        stored = self.stored(upright, *SIDES[orientation])

        pixels = decode(with_exif(stored, "PNG", orientation)).pixels

        assert near(pixels - decode(encode(noise(), "PNG")).pixels + 1, (1, 1, 1), levels=1)

    @pytest.mark.parametrize("orientation", [0, 9, 65535])
    def test_an_orientation_that_does_not_exist_turns_nothing(self, orientation: int) -> None:
        pixels = decode(with_exif(Image.fromarray(quarters()), "PNG", orientation)).pixels

        assert all(map(near, corners(pixels), [RED, LIME, BLUE, WHITE]))

    @pytest.mark.parametrize(
        "offset",
        [
            pytest.param(0, id="byte order"),
            pytest.param(2, id="magic number"),
            pytest.param(4, id="place of the directory"),
            pytest.param(10, id="tag"),
            pytest.param(12, id="type"),
            pytest.param(14, id="count"),
            pytest.param(18, id="value"),
        ],
    )
    def test_broken_exif_is_ignored(self, offset: int) -> None:
        assert all(map(near, corners(decode(broken_exif(offset)).pixels), [RED, LIME, BLUE, WHITE]))

    def test_exif_that_nobody_can_read_turns_nothing(self) -> None:
        exif = chunk(b"eXIf", b"MM\0*\0\0")
        data = encode(Image.fromarray(quarters()), "PNG")
        data = data.replace(chunk(b"IEND", b""), exif + chunk(b"IEND", b""))

        assert all(map(near, corners(decode(data).pixels), [RED, LIME, BLUE, WHITE]))


class TestBigPictures:
    def test_a_big_jpeg_decoded_at_reduced_scale_is_close_to_one_decoded_whole(self) -> None:
        y, x = np.mgrid[:3000, :4000].astype(np.float32)
        waves = [128 + 90 * np.sin(x / 90 + y / 300) + 30 * np.sin((x - y) / (4 + k)) for k in range(3)]
        data = encode(Image.fromarray(np.stack(waves, axis=2).clip(0, 255).astype(np.uint8)), "JPEG", quality=85)
        whole = Image.open(io.BytesIO(data)).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)

        difference = np.abs(decode(data).pixels.astype(int) - np.asarray(whole).astype(int))

        assert 0 < difference.mean() < 2

    @pytest.mark.parametrize("size", [(8000, 6000), (12_000, 9000), (16_384, 12_288)])
    def test_a_phone_of_48_108_or_200_megapixels_is_welcome(self, size: tuple[int, int]) -> None:
        data = encode(Image.new("L", size, 77), "JPEG")

        picture = decode(data)

        assert (picture.width, picture.height) == size
        assert near(picture.pixels, (77, 77, 77))


class TestRefusals:
    @pytest.mark.parametrize(
        ("data", "reason", "limit", "value"),
        [
            pytest.param(b"", "empty", "at least 1 byte", "0 bytes", id="nothing"),
            pytest.param(bytes(20971521), "too_many_bytes", "20971520 bytes", "20971521 bytes", id="21 MB"),
            pytest.param(b"<!doctype html><p>404", "not_an_image", "JPEG/PNG/WEBP/GIF", "21 bytes", id="HTML"),
            pytest.param(b"<svg width='64' height='64'/>", "not_an_image", "JPEG/PNG", "29 bytes", id="SVG"),
            pytest.param(
                b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n",
                "not_an_image",
                "JPEG/PNG",
                "58 bytes",
                id="EPS",
            ),
            pytest.param(encode(noise(), "TIFF"), "not_an_image", "JPEG/PNG", "bytes of something else", id="TIFF"),
            pytest.param(encode(noise(), "BMP"), "not_an_image", "JPEG/PNG", "bytes of something else", id="BMP"),
            pytest.param(png(50_000, 50_000), "too_many_pixels", "40000000 pixels", "2500000000", id="PNG bomb"),
            pytest.param(png(10_000, 10_000), "too_many_pixels", "40000000 pixels", "", id="100-megapixel PNG"),
            pytest.param(png(8000, 6000), "too_many_pixels", "40000000 pixels", "8000x6000", id="48-megapixel PNG"),
            pytest.param(
                jpeg_claiming(16_400, 12_300),
                "too_many_pixels",
                "201326592 pixels, max_jpeg_pixels",
                "201720000 pixels, 16400x12300",
                id="202-megapixel JPEG",
            ),
            pytest.param(png(40_000, 100), "side_too_long", "20000 pixels", "40000x100", id="wide PNG"),
            pytest.param(png(100, 20_001), "side_too_long", "20000 pixels", "100x20001", id="tall PNG"),
            pytest.param(png(15, 100), "side_too_short", "16 pixels", "15x100", id="narrow"),
            pytest.param(png(1, 1), "side_too_short", "16 pixels", "1x1", id="a pixel"),
            pytest.param(png(161, 16), "too_elongated", "10:1", "161x16", id="elongated"),
            pytest.param(SAMPLES["JPEG"][:-200], "truncated", "a complete file", "truncated", id="JPEG cut"),
            pytest.param(SAMPLES["PNG"][:-200], "truncated", "a complete file", "truncated", id="PNG cut"),
            pytest.param(
                SIGNATURE + chunk(b"IHDR", b""), "truncated", "a complete file", "ValueError", id="header cut"
            ),
            pytest.param(odd_chunk(), "corrupt", "a complete file", "SyntaxError", id="odd chunk between the data"),
            pytest.param(png(64, 64, b"not zlib"), "corrupt", "a complete file", "OSError", id="PNG of rubbish"),
            pytest.param(SAMPLES["WEBP"][:-200], "corrupt", "a complete file", "OSError", id="WebP cut"),
        ],
    )
    def test_a_refusal_names_its_reason_its_limit_and_what_came(
        self, data: bytes, reason: str, limit: str, value: str
    ) -> None:
        error = refusal(data)

        assert error.reason == reason
        assert limit in error.limit
        assert value in error.value
        assert str(error) == f"{reason}: {error.value} (allowed: {error.limit})"
        assert "\n" not in str(error)

    @pytest.mark.parametrize(("width", "height"), [(16, 16), (160, 16), (16, 160), (20_000, 2000), (8000, 5000)])
    def test_a_size_at_the_limit_passes_the_check_of_the_header(self, width: int, height: int) -> None:
        assert refusal(png(width, height)).reason == "truncated"  # it is only a header

    def test_a_file_at_the_limit_of_bytes_passes(self) -> None:
        check_bytes(1)
        check_bytes(LIMITS.max_bytes)

    @pytest.mark.parametrize(
        ("limits", "reason"),
        [
            (Limits(max_bytes=100), "too_many_bytes"),
            (Limits(max_jpeg_pixels=64 * 48 - 1), "too_many_pixels"),
            (Limits(max_side=63), "side_too_long"),
            (Limits(min_side=49), "side_too_short"),
            (Limits(max_aspect=1.2), "too_elongated"),
        ],
    )
    def test_limits_can_be_drawn_tighter(self, limits: Limits, reason: str) -> None:
        assert refusal(SAMPLES["JPEG"], limits).reason == reason

    def test_an_mpo_has_the_limit_of_a_jpeg(self) -> None:
        assert decode(SAMPLES["MPO"], Limits(max_pixels=1)).format == "MPO"


class TestHostileFiles:
    @pytest.mark.parametrize("sample", ["JPEG", "progressive", "PNG", "WEBP", "GIF", "APNG"])
    def test_a_file_cut_anywhere_is_refused_or_seen(self, sample: str) -> None:
        whole = SAMPLES[sample]
        reasons = {reason(whole[:length]) for length in range(len(whole))}

        assert {"empty", "not_an_image"} < reasons <= REASONS | {None}

    @settings(max_examples=200, deadline=None)
    @given(
        start=st.sampled_from([b"", b"\xff\xd8\xff", SIGNATURE, b"GIF89a", b"RIFF\0\1\0\0WEBPVP8 ", png(64, 64)]),
        rest=st.binary(max_size=300),
    )
    def test_random_bytes_never_raise_anything_but_a_refusal(self, start: bytes, rest: bytes) -> None:
        assert reason(start + rest) in REASONS | {None}

    @settings(max_examples=300, deadline=None)
    @given(
        sample=st.sampled_from(sorted(SAMPLES)),
        changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6),
    )
    def test_a_damaged_picture_never_raises_anything_but_a_refusal(
        self, sample: str, changes: list[tuple[int, int]]
    ) -> None:
        data = bytearray(SAMPLES[sample])
        for place, value in changes:
            data[place % len(data)] = value

        assert reason(bytes(data)) in REASONS | {None}

    def test_pillows_warnings_neither_print_nor_decide(self, tmp_path: Path) -> None:
        odd, bomb = tmp_path / "odd.jpg", tmp_path / "bomb.png"
        odd.write_bytes(broken_exif(4))
        bomb.write_bytes(png(10_000, 10_000))

        done = [
            subprocess.run([sys.executable, *flags, "-c", _ASK, odd, bomb], capture_output=True, text=True, check=True)
            for flags in (["-W", "error"], ["-W", "always"])
        ]

        assert [(run.stdout.split(), run.stderr) for run in done] == [(["seen", "too_many_pixels"], "")] * 2


_ASK = """
import pathlib, sys
from trainer.errors import Rejected
from trainer.pixels.preprocess import decode
for path in sys.argv[1:]:
    try:
        decode(pathlib.Path(path).read_bytes())
        print("seen")
    except Rejected as error:
        print(error.reason)
"""


def reason(data: bytes) -> str | None:
    """Why a file is refused; None when it is seen."""
    try:
        pixels = decode(data).pixels
    except Rejected as error:
        return error.reason
    assert pixels.shape == (SIZE, SIZE, 3)
    return None


def synthetic(name: str) -> bytes:
    """A picture from arithmetic, bigger than what comes out, on each path through the decoder."""
    image = noise(1300, 1100)
    match name:
        case "transparent":
            image.putalpha(image.getchannel("R"))
            return encode(image, "PNG")
        case "sixteen bits":
            values = np.asarray(image).astype(np.uint16)
            return encode(Image.fromarray(values[..., 0] * 256 + values[..., 1]), "PNG")
        case "ink":
            return encode(image.convert("CMYK"), "JPEG")
        case format_:
            return encode(image, format_)


class TestPixels:
    def test_the_same_file_gives_the_same_pixels(self) -> None:
        data = encode(noise(700, 600), "JPEG")

        assert np.array_equal(decode(data).pixels, decode(data).pixels)

    @pytest.mark.parametrize("name", ["photo", "JPEG", "PNG", "WEBP", "transparent", "sixteen bits", "ink"])
    def test_pixels_change_only_with_the_fingerprint(self, name: str, photo: Path) -> None:
        data = photo.read_bytes() if name == "photo" else synthetic(name)
        found = hashlib.sha256(decode(data).pixels.tobytes()).hexdigest()

        assert found == GOLDEN.get(FINGERPRINT, {}).get(name), (
            f"{name} now gives other pixels than {FINGERPRINT} promises, and every checkpoint was fitted on those. "
            "If nobody meant to change them, undo the change (a new Pillow counts: see deploy/constraints.txt). "
            "If you did, raise trainer.pixels.preprocess.VERSION, add the new hashes to GOLDEN under the new "
            "fingerprint, and fit the shipped checkpoint again."
        )
