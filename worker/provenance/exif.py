"""The few fields of an EXIF block that name software or a camera.

It looks up wanted tags and follows one pointer: it never reads where a photo was taken, and no cycle or huge value can
hold it up.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from worker.provenance.fields import MAX_TEXT, MetadataError, MetadataField

_MAKE, _MODEL, _LENS = 0x010F, 0x0110, 0xA434
_USER_COMMENT, _EXIF_POINTER = 0x9286, 0x8769
#: Tags of the two directories: the first one, and the one to which it points.
_MAIN = {0x010E: "ImageDescription", _MAKE: "Make", _MODEL: "Model", 0x0131: "Software", 0x013B: "Artist"}
_MAIN |= {0x9C9C: "XPComment", _EXIF_POINTER: ""}
_SUB = {_USER_COMMENT: "UserComment", 0xA433: "LensMake", _LENS: "LensModel"}
_BYTE_ORDERS = {b"II*\0": "little", b"MM\0*": "big"}
_ENTRY_BYTES = 12
#: Entries of one directory; a photo has dozens.
_MAX_ENTRIES = 1000
#: Bytes of one value of each type (TIFF 6.0, section 2); other types hold numbers, of which none is wanted.
_SIZES = {1: 1, 2: 1, 4: 4, 7: 1}
_POINTER_TYPE = 4
_CHARACTER_CODES = {b"ASCII\0\0\0": "ascii", b"UNICODE\0": "utf-16", b"\0" * 8: "utf-8"}


@dataclass(frozen=True, slots=True)
class _Block:
    data: bytes
    order: str

    def number(self, place: int, size: int) -> int:
        piece = self.data[place : place + size]
        if len(piece) < size:
            raise MetadataError("the EXIF block ends too early")
        return int.from_bytes(piece, "little" if self.order == "little" else "big")


def exif_fields(body: bytes) -> Iterator[MetadataField]:
    """The wanted fields of a block, with or without its prefix "Exif"; raises `MetadataError` for a malformed one."""
    body = body.removeprefix(b"Exif\0\0")
    order = _BYTE_ORDERS.get(body[:4])
    if order is None:
        raise MetadataError("the EXIF block has no TIFF header")
    block, pointers = _Block(body, order), []
    for tag, value in _entries(block, block.number(4, 4), _MAIN):
        if tag == _EXIF_POINTER:
            pointers.append(int.from_bytes(value[:4], "little" if order == "little" else "big"))
        else:
            yield MetadataField(f"EXIF {_MAIN[tag]}", _text(tag, value, order))
    for place in pointers[:1]:
        for tag, value in _entries(block, place, _SUB):
            yield MetadataField(f"EXIF {_SUB[tag]}", _text(tag, value, order))


def _entries(block: _Block, place: int, wanted: dict[int, str]) -> Iterator[tuple[int, bytes]]:
    """(tag, value) of the wanted tags of one directory, each once."""
    count, seen = block.number(place, 2), set()
    for entry in range(place + 2, place + 2 + min(count, _MAX_ENTRIES) * _ENTRY_BYTES, _ENTRY_BYTES):
        tag, type_ = block.number(entry, 2), block.number(entry + 2, 2)
        if tag in wanted and tag not in seen and type_ in _SIZES:
            seen.add(tag)
            size = block.number(entry + 4, 4) * _SIZES[type_]
            start = entry + 8 if size <= 4 else block.number(entry + 8, 4)  # noqa: PLR2004 - bytes in the entry itself
            yield tag, block.data[start : start + min(size, 4 * MAX_TEXT)]


def _text(tag: int, value: bytes, order: str) -> str:
    if tag == 0x9C9C:  # noqa: PLR2004 - XPComment, from Windows
        return value.decode("utf-16-le", "replace").rstrip("\0")[:MAX_TEXT]
    if tag == _USER_COMMENT:
        return _user_comment(value, order)
    return value.rstrip(b"\0").decode("utf-8", "replace")[:MAX_TEXT]


def _user_comment(value: bytes, order: str) -> str:
    """A comment after its eight bytes of character code (Exif 2.32, 4.6.5); software writes either byte order."""
    code, text = value[:8], value[8:]
    encoding = _CHARACTER_CODES.get(code, "utf-8")
    if encoding == "utf-16":
        big = order == "big" if len(text) < 2 or 0 not in text[:2] else text[0] == 0  # noqa: PLR2004 - one character
        encoding = "utf-16-be" if big else "utf-16-le"
    return (text if code in _CHARACTER_CODES else value).decode(encoding, "replace").rstrip("\0")[:MAX_TEXT]
