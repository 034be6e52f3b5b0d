"""The parts of a photo's file that hold metadata, found without decoding anything: JPEG, PNG, WebP and AVIF.

It slices and compares and nothing else, so it may run in a worker itself. What reads the parts runs in the sandbox.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.pixels.avif_header import is_avif
from trainer.pixels.limits import MARKER

PartKind = Literal["exif", "xmp", "text", "iptc", "comment", "c2pa"]
#: Segments or chunks of one file; no photo has as many.
MAX_PARTS = 10_000

_JPEG, _PNG, _RIFF = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF"
_SCAN, _END, _COMMENT = 0xDA, 0xD9, 0xFE
_STANDALONE = frozenset({0x01, 0xD8})
_APP1, _APP11, _APP13 = 0xE1, 0xEB, 0xED
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_PNG_KINDS: dict[bytes, PartKind] = {
    b"tEXt": "text",
    b"zTXt": "text",
    b"iTXt": "text",
    b"eXIf": "exif",
    b"caBX": "c2pa",
}
_WEBP_KINDS: dict[bytes, PartKind] = {b"EXIF": "exif", b"XMP ": "xmp", b"C2PA": "c2pa"}


@dataclass(frozen=True, slots=True)
class MetadataPart:
    """A part of the file: what it holds, the name of its segment or chunk, and its bytes without that name."""

    kind: PartKind
    name: str
    body: bytes


def file_type(data: bytes) -> str | None:
    """The media type by the file's first bytes; None for what Unmask does not decode."""
    if data.startswith(_JPEG):
        return "image/jpeg"
    if data.startswith(_PNG):
        return "image/png"
    if data.startswith(_RIFF) and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/avif" if is_avif(data) else None


def metadata_parts(data: bytes) -> Iterator[MetadataPart]:
    """The parts in the order of the file, of JPEG, PNG and WebP; a file that is cut off ends them."""
    match file_type(data):
        case "image/jpeg":
            yield from _jpeg(data)
        case "image/png":
            yield from _png(data)
        case "image/webp":
            yield from _webp(data)


def may_have_metadata(data: bytes) -> bool:
    """Whether reading a file's metadata may find any. Most photos have none; an AVIF's boxes take a decoder to read."""
    kind = file_type(data)
    return kind in ("image/avif", "image/gif") or next(metadata_parts(data), None) is not None


def _jpeg(data: bytes) -> Iterator[MetadataPart]:
    """Segments before the first scan."""
    place = len(_JPEG)
    for _ in range(MAX_PARTS):
        found = MARKER.search(data, place)
        if found is None or found[1][0] in (_SCAN, _END):
            return
        place = found.end()
        if found[1][0] in _STANDALONE:
            continue
        size = int.from_bytes(data[place : place + 2], "big")
        if part := _jpeg_part(found[1][0], data[place + 2 : place + size]):
            yield part
        place += max(2, size)


def _jpeg_part(kind: int, body: bytes) -> MetadataPart | None:
    if kind == _APP1 and body.startswith(_EXIF):
        return MetadataPart("exif", "EXIF", body[len(_EXIF) :])
    if kind == _APP1 and body.startswith(_XMP):
        return MetadataPart("xmp", "XMP", body[len(_XMP) :])
    if kind == _APP13 and body.startswith(_PHOTOSHOP):
        return MetadataPart("iptc", "IPTC", body[len(_PHOTOSHOP) :])
    if kind == _APP11 and body.startswith(b"JP"):
        return MetadataPart("c2pa", "C2PA", b"")
    return MetadataPart("comment", "JPEG comment", body) if kind == _COMMENT else None


def _png(data: bytes) -> Iterator[MetadataPart]:
    """Chunks to the end of the file, since texts may follow the pixels."""
    place = len(_PNG)
    for _ in range(MAX_PARTS):
        size, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if len(name) < 4 or name == b"IEND":  # noqa: PLR2004 - bytes of a chunk's name
            return
        if kind := _PNG_KINDS.get(name):
            yield MetadataPart(kind, f"PNG {name.decode()}", data[place + 8 : place + 8 + size])
        place += 12 + size


def _webp(data: bytes) -> Iterator[MetadataPart]:
    place = 12
    for _ in range(MAX_PARTS):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if len(name) < 4:  # noqa: PLR2004 - bytes of a chunk's name
            return
        if kind := _WEBP_KINDS.get(name):
            yield MetadataPart(kind, f"WebP {name.decode().strip()}", data[place + 8 : place + 8 + size])
        place += 8 + size + size % 2
