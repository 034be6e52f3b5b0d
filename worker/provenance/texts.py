"""Text chunks of PNG files, and the two fields of an IPTC block that name software. Unpacking has a limit."""

import zlib
from collections.abc import Collection, Iterator

from worker.provenance.fields import MAX_PACKET, MAX_TEXT, MetadataError, MetadataField

#: Adobe's keyword of the chunk that holds an XMP packet.
XMP_KEYWORD = "XML:com.adobe.xmp"
_MAX_KEYWORD = 79
#: IPTC-IIM 4.2: datasets of record 2, in Photoshop's resource 0x0404.
_IIM_RESOURCE = 0x0404
_IIM_FIELDS = {65: "OriginatingProgram", 110: "Credit"}
_MAX_DATASETS = 1000


def png_text(name: str, body: bytes, wanted: Collection[str]) -> tuple[str, bytes] | None:
    """(keyword, bytes of the text) of a chunk whose field is wanted; raises `MetadataError` for a broken one."""
    keyword, separator, rest = body.partition(b"\0")
    word = keyword[:_MAX_KEYWORD].decode("latin-1")
    if not separator or (word != XMP_KEYWORD and f"PNG {word}" not in wanted):
        return None
    if name == "PNG zTXt":
        return word, _inflated(rest[1:])
    if name == "PNG iTXt":
        _language, _, after = rest[2:].partition(b"\0")
        _translated, _, text = after.partition(b"\0")
        return word, _inflated(text) if rest[:1] == b"\1" else text
    return word, rest


def text_field(name: str, text: bytes) -> MetadataField:
    """A field of text that is UTF-8, or else Latin-1."""
    cut = text[: 4 * MAX_TEXT]
    try:
        decoded = cut.decode()
    except UnicodeDecodeError as error:
        # Not the fault of the text if it was cut within a character.
        decoded = cut[: error.start].decode() if error.start > len(cut) - 4 else cut.decode("latin-1")
    return MetadataField(name, decoded[:MAX_TEXT])


def iptc_fields(body: bytes) -> Iterator[MetadataField]:
    """The wanted datasets of a Photoshop segment."""
    place = 0
    while body[place : place + 4] == b"8BIM":
        number = int.from_bytes(body[place + 4 : place + 6], "big")
        name_bytes = (body[place + 6] if place + 6 < len(body) else 0) + 1
        start = place + 6 + name_bytes + name_bytes % 2
        size = int.from_bytes(body[start : start + 4], "big")
        if number == _IIM_RESOURCE:
            yield from _datasets(body[start + 4 : start + 4 + size])
        place = start + 4 + size + size % 2


def _datasets(block: bytes) -> Iterator[MetadataField]:
    place = 0
    for _ in range(_MAX_DATASETS):
        head = block[place : place + 5]
        if len(head) < 5 or head[0] != 0x1C:  # noqa: PLR2004 - each dataset begins with this byte
            return
        size = int.from_bytes(head[3:5], "big")
        if head[1] == 2 and head[2] in _IIM_FIELDS:  # noqa: PLR2004 - the record of the picture
            yield text_field(f"IPTC {_IIM_FIELDS[head[2]]}", block[place + 5 : place + 5 + size])
        place += 5 + size


def _inflated(packed: bytes) -> bytes:
    """At most a little over `MAX_PACKET` bytes, however much there would be; the reader of the text says so."""
    try:
        return zlib.decompressobj().decompress(packed, MAX_PACKET + 1)
    except zlib.error as error:
        raise MetadataError("a compressed text cannot be unpacked") from error
