"""The fields of a file's metadata that tell of its origin, and nothing else: no place, no serial number, no name.

Each reader takes at most `MAX_PACKET` bytes and keeps at most `MAX_TEXT` characters of a field. A fault in one part
leaves the others readable.
"""

from dataclasses import dataclass

#: Bytes of a part that are read, and characters of a field that are kept to be matched.
MAX_PACKET = 1024 * 1024
MAX_TEXT = 16_384


class MetadataError(Exception):
    """A part of the metadata cannot be read, with a reason in a few words."""


@dataclass(frozen=True, slots=True)
class MetadataField:
    """A field by its full name, such as "EXIF Software" or "XMP xmp:CreatorTool", and its text."""

    name: str
    text: str
