"""Pictures made to hurt: each is refused with its reason, or decoded within 400 MB; nothing else ever happens."""

import io
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from trainer.errors import Rejected
from trainer.pixels.limits import LIMITS, count_scans
from trainer.pixels.preprocess import decode

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.")

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_MB = 400
MAX_S = 2
#: Decodes a file in a process of its own, in one of two ways; prints how it went and the most megabytes it took.
PROBE = """
import sys
from pathlib import Path
from trainer.errors import Rejected
from trainer.pixels import preprocess
try:
    getattr(preprocess, sys.argv[2])(Path(sys.argv[1]).read_bytes())
    outcome = "decoded"
except Rejected as error:
    outcome = error.reason
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(outcome, int(peak.split()[1]) // 1024)
"""


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, colour: int, bits: int, channels: int, *extra: bytes) -> bytes:
    """A black PNG of any kind, packed as tightly as it can be; ``extra`` chunks come before its data."""
    row, packer = bytes(1 + width * channels * bits // 8), zlib.compressobj(9)
    data = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg(mode: str, width: int, height: int, **options: object) -> bytes:
    return encoded(Image.new(mode, (width, height)), "JPEG", **options)


def small(format_: str) -> bytes:
    return encoded(Image.new("L", (64, 64), 99), format_)


def scans(width: int, height: int, count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again: in libjpeg's own words, a way to take hours."""
    data = jpeg("L", width, height, progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + b"\xff\xd9"


def plain_scans(width: int, height: int, channels: int, count: int) -> bytes:
    """A JPEG that is not progressive, and goes over one channel again and again all the same."""
    data, tables, place = jpeg("RGB", 16, 16, subsampling=0), b"", 2
    while (kind := data[place + 1]) != 0xDA:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        tables += data[place:end] if kind in (0xDB, 0xC4) else b""
        place = end
    parts = b"".join(bytes([number, 0x11, 0]) for number in range(1, channels + 1))
    frame = struct.pack(">BHHB", 8, height, width, channels) + parts
    each = [b"\xff\xda\0\x08\1" + bytes([number]) + b"\0\0\x3f\0\0" for number in range(1, channels + 1)]
    start = b"\xff\xd8" + tables + b"\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame
    return start + b"".join(each) + each[0] * (count - channels) + b"\xff\xd9"


def exif(count: int) -> bytes:
    """A JPEG with so many Exif segments, which Pillow joins one by one."""
    return after(small("JPEG"), 2, (b"\xff\xe1" + struct.pack(">H", 1008) + b"Exif\0\0" + bytes(1000)) * count)


def in_scan(inserted: bytes) -> bytes:
    """A JPEG with these bytes in the middle of its scan."""
    data = encoded(Image.effect_noise((256, 256), 60), "JPEG")
    return after(data, (data.index(b"\xff\xda") + len(data)) // 2, inserted)


def after(data: bytes, place: int, inserted: bytes) -> bytes:
    return data[:place] + inserted + data[place:]


def gif_blocks(count: int) -> bytes:
    data = small("GIF")
    return after(data, data.index(b",", 13), b"\x21\xfe\x01x\x00" * count)


FLOODS: dict[str, tuple[Callable[[], bytes], str]] = {
    "scans": (lambda: scans(8000, 6250, 200), "too_many_scans"),
    "scans of a small picture": (lambda: scans(1000, 1000, 2000), "too_many_scans"),
    "scans that are not progressive": (lambda: plain_scans(2000, 2000, 3, 6_000), "too_many_scans"),
    "plain ink in scans": (lambda: plain_scans(7000, 7000, 4, 4), "too_many_pixels"),
    "Exif segments": (lambda: exif(7000), "too_many_parts"),
    "JPEG starts": (lambda: after(small("JPEG"), 2, b"\xff\xd8" * 5_000_000), "too_many_parts"),
    "more scans": (lambda: plain_scans(16, 16, 3, 60_000), "too_many_parts"),
    "JPEG segments": (lambda: after(small("JPEG"), 2, b"\xff\xfe\0\2" * 1_000_000), "too_many_parts"),
    "JPEG fill bytes": (lambda: after(small("JPEG"), 2, b"\xff" * 1_000_000), "too_many_parts"),
    "JPEG fill bytes before nothing": (lambda: after(small("JPEG"), 2, b"\xff" * 5_000_000 + b"\0"), "too_many_parts"),
    "fill bytes in a scan": (lambda: in_scan(b"\xff" * 19_000_000), "too_many_parts"),
    "fill bytes before the end": (lambda: jpeg("RGB", 64, 64)[:-2] + b"\xff" * 19_000_000 + b"\xd9", "too_many_parts"),
    "fill bytes behind a false end": (
        lambda: in_scan(b"\xff\xfe\0\4\xff\xd9" + b"\xff" * 19_000_000),
        "too_many_parts",
    ),
    "JPEG rubbish": (lambda: after(small("JPEG"), 20, b"x" * 1_000_000), "too_many_parts"),
    "PNG chunks": (lambda: png(64, 64, 2, 8, 3, chunk(b"abCd", b"") * 200_000), "too_many_parts"),
    "PNG data in nothings": (lambda: png(64, 64, 2, 8, 3, chunk(b"IDAT", b"") * 200_000), "too_many_parts"),
    "GIF comments": (lambda: gif_blocks(200_000), "too_many_parts"),
    "a packed text": (
        lambda: png(64, 64, 2, 8, 3, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2_000_000)))),
        "metadata_too_large",
    ),
    "many packed texts": (
        lambda: png(64, 64, 2, 8, 3, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(900_000))) * 20),
        "metadata_too_large",
    ),
    "a packed colour profile": (
        lambda: png(64, 64, 2, 8, 3, chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2_000_000)))),
        "metadata_too_large",
    ),
    "progressive ink": (lambda: jpeg("CMYK", 8000, 5000, progressive=True), "too_many_pixels"),
    "a large WebP": (
        lambda: encoded(Image.new("RGB", (5000, 4001)), "WEBP", lossless=True, method=0, quality=0),
        "too_many_pixels",
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_refused_by_the_limit_that_it_breaks(name: str) -> None:
    make, reason = FLOODS[name]
    with pytest.raises(Rejected) as caught:
        decode(make())
    assert caught.value.reason == reason
    assert caught.value.limit
    assert caught.value.value


@pytest.mark.parametrize("name", [name for name in FLOODS if "fill bytes" in name])
def test_fill_bytes_cost_no_time(name: str) -> None:
    data = FLOODS[name][0]()
    start = time.process_time()
    with pytest.raises(Rejected):
        decode(data)
    assert time.process_time() - start < MAX_S


@pytest.mark.parametrize("run", [1, 2, 3, 1000, 1023])
def test_short_runs_of_fill_bytes_cost_no_time(run: int) -> None:
    data = in_scan((b"\xff" * run + b"\0") * (19_000_000 // (run + 1)))
    start = time.process_time()
    with suppress(Rejected):
        decode(data)
    assert time.process_time() - start < MAX_S


def test_fill_bytes_in_segments_and_behind_the_end_do_not_count() -> None:
    padding = b"\xff\xe5\xff\xf0" + b"\xff" * 0xFFEE
    assert decode(after(small("JPEG"), 2, padding * 4) + b"\xff" * 500_000).format == "JPEG"
    assert decode(in_scan(b"")[:-2] + b"\xff" * 10_000 + b"\xd9").format == "JPEG"


def test_what_lies_in_a_thumbnail_or_behind_the_end_is_no_scan() -> None:
    photo, others = jpeg("RGB", 8000, 6000), b"\xff\xda\0\x08" * 1000
    thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + len(others)) + others
    assert count_scans(photo) == count_scans(after(photo, 2, thumbnail) + others) == 1
    assert decode(after(photo, 2, thumbnail) + others).format == "JPEG"
    assert count_scans(jpeg("RGB", 64, 64, progressive=True)) == 10
    assert count_scans(exif(16)) == 1
    assert count_scans(plain_scans(64, 64, 3, 9)) == 9
    assert count_scans(after(plain_scans(64, 64, 3, 9), 2, b"\xff\1\xff\xd8")) == 9
    assert count_scans(small("PNG")) == count_scans(b"") == count_scans(b"\xff\xd8") == 0


#: Exif that says: lying on its side.
TURNED = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
WORST: dict[str, Callable[[], bytes]] = {
    "PNG, transparent": lambda: png(8000, 5000, 6, 8, 4),
    "PNG, one colour transparent, 16 bits": lambda: png(8000, 5000, 2, 16, 3, chunk(b"tRNS", bytes(6))),
    "PNG, transparent and turned": lambda: png(8000, 5000, 6, 8, 4, chunk(b"eXIf", TURNED)),
    "PNG, transparent, 16 bits": lambda: png(8000, 5000, 6, 16, 4),
    "PNG, grey, 16 bits": lambda: png(8000, 5000, 0, 16, 1),
    "GIF, transparent": lambda: encoded(Image.new("P", (8000, 5000), 1), "GIF", transparency=1),
    "WebP, transparent": lambda: encoded(
        Image.new("RGBA", (5000, 4000), (1, 2, 3, 4)), "WEBP", lossless=True, method=0, quality=0
    ),
    "AVIF, transparent": lambda: encoded(Image.new("RGBA", (5000, 4000), (1, 2, 3, 4)), "AVIF", speed=10),
    "JPEG, 200 megapixels": lambda: jpeg("L", 16_384, 12_288),
    "JPEG without its end": lambda: jpeg("RGB", 8000, 6250, subsampling=0)[:-2],
    "JPEG, progressive": lambda: jpeg("RGB", 8000, 6250, progressive=True, subsampling=0),
    "JPEG, progressive ink": lambda: jpeg("CMYK", 7500, 5000, progressive=True),
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory was used at most")
@pytest.mark.parametrize("way", ["decode", "upright"])
@pytest.mark.parametrize("name", WORST)
def test_the_worst_that_the_limits_let_through_takes_no_more_memory_than_they_promise(
    name: str, way: str, tmp_path: Path
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(WORST[name]())
    done = subprocess.run([sys.executable, "-c", PROBE, str(path), way], capture_output=True, text=True, check=True)
    outcome, peak_mb = done.stdout.split()
    assert outcome == "decoded"
    assert int(peak_mb) <= MAX_MB


def test_every_beginning_of_a_photo_is_refused_and_only_the_whole_is_one() -> None:
    data = encoded(Image.linear_gradient("L").resize((32, 32)), "JPEG")
    for length in range(len(data) - 2):  # without its last two bytes, which say that it ends, all of it is there
        with pytest.raises(Rejected):
            decode(data[:length])
    assert decode(data).format == "JPEG"


@pytest.mark.parametrize(
    "data",
    [
        b"<!doctype html><script>alert(1)</script>",
        b"%PDF-1.7",
        b"PK\3\4" + bytes(100),
        b"MZ" + bytes(100),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        encoded(Image.new("RGB", (64, 64)), "TIFF"),
        encoded(Image.new("RGB", (64, 64)), "BMP"),
        encoded(Image.new("RGB", (64, 64)), "ICO"),
        b" " + small("JPEG"),
    ],
)
def test_what_is_no_photo_is_not_taken_for_one(data: bytes) -> None:
    with pytest.raises(Rejected, match=r"^not_an_image: "):
        decode(data)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF"])
@pytest.mark.parametrize("tail", [b"PK\3\4" + bytes(100), b"<script>alert(1)</script>", bytes(1000)])
def test_of_a_file_that_is_two_things_only_the_photo_is_seen(format_: str, tail: bytes) -> None:
    assert (decode(small(format_) + tail).pixels == decode(small(format_)).pixels).all()


def test_no_photo_that_we_know_of_comes_near_the_limits() -> None:
    rgb = Image.effect_noise((1500, 2000), 50).convert("RGB")
    assert decode(encoded(rgb, "JPEG", progressive=True, quality=90)).format == "JPEG"
    assert scans(4000, 3000, 40).count(b"\xff\xda") * 4000 * 3000 < LIMITS.max_scan_pixels
