"""Progress of long steps on stderr: a bar on a terminal, otherwise a line every few seconds."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from tqdm import tqdm

#: Seconds between two lines when stderr is not a terminal.
LINE_S = 5.0
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}s, {elapsed} gone, {remaining} left"
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def quiet(*, on: bool) -> Iterator[None]:
    """Show no progress within this block if ``on``."""
    token = _quiet.set(on)
    try:
        yield
    finally:
        _quiet.reset(token)


def say(sentence: str, *, shown: bool) -> None:
    """Write one line to stderr, as progress is shown."""
    if shown and not _quiet.get():
        sys.stderr.write(f"{sentence}\n")


def progress_bar(total: int, what: str, unit: str, *, shown: bool, start: int = 0) -> "tqdm[Any]":
    """A progress bar for ``total`` units, ``start`` of which are done. ``shown`` is false in all processes but one."""
    off = _quiet.get() or not shown or total == 0
    if sys.stderr.isatty():
        return tqdm(total=total, initial=start, desc=what, unit=unit, disable=off)
    lines = _Lines(sys.stderr)
    return tqdm(
        total=total, initial=start, desc=what, unit=unit, disable=off, file=lines, mininterval=LINE_S, bar_format=_LINE
    )


class _Lines:
    """Writes each text of tqdm as a line of its own, instead of over the last one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        self._stream.flush()
