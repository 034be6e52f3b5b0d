"""Files that appear whole or not at all, and files that are read within a limit. No torch here."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give the block a temporary file to write beside ``path``; it takes the place of ``path`` when the block ends.

    ``durable`` puts the file's bytes and its directory entry on the disk first (fsync), so that a power loss leaves
    the old file or the new one, and never half of it. If the block raises, ``path`` stays as it was and the temporary
    file is removed. The name of the process is in the temporary file's name: writers do not disturb each other.
    Raises OSError as writing does.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        if durable:
            _flush(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if durable:
        _flush(path.parent)


def open_file(path: Path) -> BinaryIO:
    """Open a file that people name, to read it. A pipe to which nobody writes is empty, instead of waited for."""
    return open(path, "rb", opener=_open_at_once)


def _open_at_once(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)  # somebody who writes is waited for
    return descriptor


def read_bounded(path: Path, most: int) -> bytes:
    """The bytes of a file that people name; raises OSError as reading does, and for more than ``most`` bytes.

    A device such as /dev/zero has no end.
    """
    with open_file(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return data


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
