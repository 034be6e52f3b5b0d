"""How often a decoder goes over a JPEG picture: its scans, found by the file's markers before anybody decodes it."""

import re

from trainer.errors import Rejected

_START, _SCAN_START = b"\xff\xd8", b"\xff\xda"
_TEMPORARY, _AGAIN, _END, _SCAN, _APP1 = 0x01, 0xD8, 0xD9, 0xDA, 0xE1
#: The next marker: within a scan's data 0xFF is followed by zero, or by the number of a restart. Any number of 0xFF may
#: stand before it; asking for them here would take time that grows with their square.
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_EXIF = b"Exif\0\0"
#: Segments of Exif data, of up to 64 KB each. One is what there is; Pillow joins them one by one, and copies all of
#: them each time.
MAX_EXIF_SEGMENTS = 16
#: Of all kinds.
MAX_MARKERS = 10_000


def count(data: bytes) -> int:
    """The number of scans; 0 for what is no JPEG.

    What lies in segments (a thumbnail) or behind the end (a film) has markers of its own, and does not count. Raises
    `Rejected` for more segments than any photo has.
    """
    markers = scans = exifs = 0
    place = len(_START) if data.startswith(_START) else len(data)
    while found := _MARKER.search(data, place):
        kind, place, markers = found[1][0], found.end(), markers + 1
        if kind == _END:
            break
        scans += kind == _SCAN
        exifs += kind == _APP1 and data.startswith(_EXIF, place + 2)
        if exifs > MAX_EXIF_SEGMENTS:
            raise Rejected("too_many_parts", f"{MAX_EXIF_SEGMENTS} Exif segments", "more")
        if markers > MAX_MARKERS:
            raise Rejected("too_many_parts", f"{MAX_MARKERS} segments and scans", "more")
        if kind == _SCAN and data.find(_SCAN_START, place) < 0:  # of most photos the rest need not be searched
            break
        if kind not in (_TEMPORARY, _AGAIN):  # which stand alone
            place += max(2, int.from_bytes(data[place : place + 2], "big"))
    return scans
