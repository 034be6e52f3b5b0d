"""What a hostile picture or a broken clock does to a process; Python runs this first where it lies on PYTHONPATH.

A picture with a charm in it harms whoever opens it with Pillow, as one that finds a hole in a decoder would.
``CHAOS_CLOCK`` names a file that says by how many seconds this process's clock is wrong.
"""

import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

_open = Image.open
_time = time.time


def _killer() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hog() -> None:
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        _killer()  # as the kernel would, once the machine has no memory left: but the machine is not ours
    kept = []
    while True:
        kept.append(bytearray(64 * 1024 * 1024))


def _sleeper() -> None:
    while True:
        time.sleep(60)


_HARMS = {b"unmask-chaos:killer": _killer, b"unmask-chaos:hog": _hog, b"unmask-chaos:sleeper": _sleeper}


def _charmed_open(file: Any, *args: Any, **options: Any) -> Image.Image:
    data = file.getvalue() if hasattr(file, "getvalue") else b""
    for charm, harm in _HARMS.items():
        if charm in data[:1024]:
            harm()
    return _open(file, *args, **options)


def _wrong_time() -> float:
    with suppress(OSError, ValueError):
        return _time() + float(Path(os.environ["CHAOS_CLOCK"]).read_text())
    return _time()


Image.open = _charmed_open  # type: ignore[assignment]  # its callers' arguments are their business
if "CHAOS_CLOCK" in os.environ:
    time.time = _wrong_time
