"""Hostile metadata costs little time and memory, and hides nothing of the rest of the file."""

import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from db.file_signals import AI, MAX_SIGNALS, MAX_VALUE, UNREAD, FileSignal
from tests.unit.worker.provenance.files import CREATED, authority, picture, png_with, xmp
from worker.provenance.reader import read_signals

#: Seconds of a processor and bytes of Python's memory for any file of up to 20 MB.
MOST_S, MOST_BYTES = 2.0, 64 * 1024 * 1024
TRACE = (b"tEXt", b"Software\0NovelAI")
SAID = FileSignal(AI, "NovelAI", "PNG Software")
MEGABYTE = 1024 * 1024
LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha">%s]><x>&z;</x>' % b"".join(
    b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(25)
)
XXE = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + xmp('xmp:CreatorTool="a">&e;')[54:]
PACKET = b"XML:com.adobe.xmp\0\0\0\0\0"


def packed(text: bytes) -> bytes:
    return b"\0\0" + zlib.compress(text, 9)


def ifd(*entries: tuple[int, int, int, int], after: int = 0) -> bytes:
    """A little-endian EXIF block of one directory: (tag, type, count, value or place)."""
    made = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<LH", 8, len(entries)) + made + struct.pack("<L", after)


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def nested(depth: int) -> bytes:
    body = b""
    for _ in range(depth):
        body = box(b"jumb", box(b"jumd", b"c2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0") + body)
    return body


#: Made when they are needed: a quarter of a gigabyte takes a while to pack.
HOSTILE: dict[str, Callable[[], bytes]] = {
    "a bomb of 256 MB": lambda: png_with(TRACE, (b"zTXt", b"parameters" + packed(bytes(256 * MEGABYTE)))),
    "bombs in their dozens": lambda: png_with(TRACE, *[(b"zTXt", b"prompt" + packed(bytes(8 * MEGABYTE)))] * 60),
    "an XMP packet of 10 MB": lambda: png_with(TRACE, (b"iTXt", PACKET + xmp(f">{'<a>b</a>' * (10 * MEGABYTE // 8)}"))),
    "an XMP packet of 10 MB of one text": lambda: png_with(
        TRACE, (b"iTXt", PACKET + xmp(f"><xmp:CreatorTool>{'x' * 10_000_000}"))
    ),
    "elements without end": lambda: png_with(TRACE, (b"iTXt", PACKET + b"<a>" * 300_000)),
    "a million laughs": lambda: png_with(TRACE, (b"iTXt", PACKET + LAUGHS)),
    "an external entity": lambda: png_with(TRACE, (b"iTXt", PACKET + XXE)),
    "an encoding that nobody knows": lambda: png_with(
        TRACE, (b"iTXt", PACKET + b'<?xml version="1.0" encoding="x"?><a/>')
    ),
    "a cycle of directories": lambda: png_with(
        TRACE, (b"eXIf", ifd((0x8769, 4, 1, 8), (0x0131, 2, 3, 0x414141), after=8))
    ),
    "values of 4 GB": lambda: png_with(
        TRACE, (b"eXIf", ifd(*[(tag, 2, 2**32 - 1, 8) for tag in (0x010F, 0x0110, 0x0131)] * 300))
    ),
    "entries without end": lambda: png_with(
        TRACE, (b"eXIf", ifd((0x0131, 2, 8, 8))[:8] + b"\xff\xff" + bytes(MEGABYTE))
    ),
    "no TIFF header": lambda: png_with(TRACE, (b"eXIf", b"?" * 100)),
    "boxes in boxes": lambda: png_with(TRACE, (b"caBX", nested(400))),
    "a manifest of noise": lambda: png_with(TRACE, (b"caBX", box(b"jumb", bytes(range(256)) * 4096))),
    "texts without end": lambda: png_with(TRACE, *[(b"tEXt", b"parameters\0x")] * 20_000),
    "text that cannot be unpacked": lambda: png_with(TRACE, (b"zTXt", b"prompt\0\0not packed")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata_is_bounded_and_hides_nothing_else(name: str) -> None:
    data = HOSTILE[name]()
    tracemalloc.start()
    begun = time.process_time()
    try:
        found = read_signals(data)
        took_s, (_, peak) = time.process_time() - begun, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert SAID in found
    assert took_s < MOST_S
    assert peak < MOST_BYTES
    assert all(one.trust != "valid" for one in found)


@pytest.mark.parametrize("name", ["an external entity", "a million laughs", "elements without end", "no TIFF header"])
def test_metadata_that_is_not_read_is_a_signal(name: str) -> None:
    found = read_signals(HOSTILE[name]())
    assert UNREAD in [one.kind for one in found]
    assert "root:" not in str(found)


def test_text_from_a_file_is_printable_and_short() -> None:
    evil = "<script>alert(1)</script>\x1b[31m\u202e\0\r\n" + "x" * 5000
    signed = authority().sign(picture("JPEG"), "image/jpeg", [CREATED | {"softwareAgent": {"name": "Firefly"}}])
    found = read_signals(signed) + read_signals(picture("JPEG", exif=ifd((0x010F, 2, 200, 8))))
    camera = FileSignal.of("provenance.camera", evil, evil)
    assert len(found) > 1
    for one in (*found, camera):
        assert one.value.isprintable()
        assert one.where.isprintable()
        assert len(one.value) <= MAX_VALUE
    assert camera.value.startswith("<script>alert(1)</script>\\x1b[31m\\u202e\\x00\\r\\n")


def test_a_file_has_a_limited_number_of_signals() -> None:
    keywords = ("prompt", "workflow", "parameters", "Software", "Source", "Title", "Dream", "sd-metadata")
    text = b'"class_type": "nodes": NovelAI Steps: 1, Seed: 2, "sui_image_params" '
    flood = png_with(*[(b"tEXt", word.encode() + b"\0" + text) for word in keywords], *[(b"eXIf", b"x")] * 50)
    assert len(read_signals(flood)) <= MAX_SIGNALS


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_a_file_that_is_cut_anywhere_is_read_as_far_as_it_goes(format_: str) -> None:
    whole = picture(format_, xmp=xmp('xmp:CreatorTool="Adobe Firefly">'), exif=ifd((0x0131, 2, 8, 8)))
    for end in range(0, len(whole), 7):
        read_signals(whole[:end])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_signed_file_with_any_bit_changed_is_invalid_or_says_the_same(seed: int) -> None:
    signed = authority().sign(picture("JPEG"), "image/jpeg", [CREATED])
    before = read_signals(signed, authority().anchors)
    for place in range(seed, len(signed), 97):
        broken = signed[:place] + bytes([signed[place] ^ 0x20]) + signed[place + 1 :]
        found = read_signals(broken, authority().anchors)
        assert found == before or all(one.trust != "valid" for one in found)
