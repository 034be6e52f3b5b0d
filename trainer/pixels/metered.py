"""A file in memory that gives a decoder only so many pieces.

Some formats are lists of chunks that may be empty, and Pillow reads them one by one: four million of them, in a file of
20 MB, take many seconds. No photo has as many parts as this allows.
"""

import io

from trainer.errors import Rejected


class Metered(io.BytesIO):
    """Bytes to read; raises `Rejected` when they are read in more than ``max_reads`` pieces."""

    def __init__(self, data: bytes, max_reads: int) -> None:
        super().__init__(data)
        self._max_reads = self._left = max_reads

    def read(self, size: int | None = -1, /) -> bytes:
        """The next piece."""
        self._left -= 1
        if self._left < 0:
            raise Rejected("too_many_parts", f"{self._max_reads} reads", "more")
        return super().read(size)
