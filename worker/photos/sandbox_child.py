"""The sandbox's child process, which decodes suspect pictures: bytes in by stdin, pixels out by stdout.

It imports the decoder and the reader of metadata, and limits itself before it touches a byte. See `sandbox`.
"""

import io
import json
import resource
import struct
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from trainer.errors import Rejected
from trainer.pixels.preprocess import SIZE, decode, upright
from trainer.pixels.views import redeliveries
from worker.provenance.reader import read_signals

#: The two lengths before each message: of the kind and the picture, or of the answer's head and body.
LENGTHS = struct.Struct("!II")
_JPEG_QUALITY = 90
#: Pixels each way of the small copies in lists.
THUMB_SIDE, _THUMB_QUALITY = 128, 80
#: Pixels each way of a photo that people look at closely, its quality, and the size in bytes past which it is lower.
ORIGINAL_SIDE = 4096
_ORIGINAL_QUALITY, _LOWER_QUALITY, _ORIGINAL_BYTES = 92, 75, 6 * 1024 * 1024


def pixels(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The picture's facts, and the 512×512×3 bytes that are scored; raises as `decode` does."""
    picture = decode(data)
    facts = {name: getattr(picture, name) for name in ("width", "height", "format", "animated", "notes")}
    return facts, picture.pixels.tobytes()


def redelivered(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The 512×512×3 bytes of each other delivery of the photo, one after the other."""
    return {}, b"".join(found.tobytes() for found in redeliveries(data))


def preview(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A new JPEG for people, at most 512×512 in the photo's proportions, without any of the file's own bytes."""
    image = upright(data)
    image.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    return {}, _jpeg(image, _JPEG_QUALITY)


def thumb(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A small JPEG for lists, at most `THUMB_SIDE` pixels each way."""
    image = upright(data)
    image.thumbnail((THUMB_SIDE, THUMB_SIDE), Image.Resampling.LANCZOS)
    return {}, _jpeg(image, _THUMB_QUALITY)


def original(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A new JPEG for people who look closely: at the photo's own size, at most `ORIGINAL_SIDE` pixels each way."""
    image = upright(data, side=ORIGINAL_SIDE)
    image.thumbnail((ORIGINAL_SIDE, ORIGINAL_SIDE), Image.Resampling.LANCZOS)
    found = _jpeg(image, _ORIGINAL_QUALITY)
    return {}, found if len(found) <= _ORIGINAL_BYTES else _jpeg(image, _LOWER_QUALITY)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=quality)
    return out.getvalue()


def signals(anchors: str, data: bytes) -> tuple[dict[str, Any], bytes]:
    """What the file says of its origin; ``anchors``: trusted certificates in PEM."""
    return {"signals": [asdict(signal) for signal in read_signals(data, anchors)]}, b""


Answerer = Callable[[bytes], tuple[dict[str, Any], bytes]]


def serve_decodes(memory_bytes: int, cpu_s: int, trust_list: Path | None) -> None:
    """Limit this process's memory, then answer questions until stdin ends."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    anchors = trust_list.read_text() if trust_list is not None else ""
    told = partial(signals, anchors)
    kinds: dict[str, Answerer] = {"pixels": pixels, "signals": told}
    kinds |= {"preview": preview, "thumb": thumb, "original": original}
    kinds["redeliveries"] = redelivered
    while lengths := sys.stdin.buffer.read(LENGTHS.size):
        kind, data = read(sys.stdin.buffer, lengths)
        _allow(cpu_s)
        head, body = _answer(kinds[kind.decode()], data)
        write(sys.stdout.buffer, json.dumps(head).encode(), body)


def read(stream: BinaryIO, lengths: bytes) -> tuple[bytes, bytes]:
    """Read two parts, whose lengths were already read."""
    first, second = LENGTHS.unpack(lengths)
    return stream.read(first), stream.read(second)


def write(stream: BinaryIO, first: bytes, second: bytes) -> None:
    """Write two parts, after their lengths."""
    stream.write(LENGTHS.pack(len(first), len(second)) + first)
    stream.write(second)
    stream.flush()


def _allow(cpu_s: int) -> None:
    """Allow this much more processor time; past it the kernel kills this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 1 + cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _answer(answerer: Answerer, data: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        return answerer(data)
    except MemoryError:
        return {"memory": True}, b""
    except Rejected as error:
        if isinstance(error.__cause__, MemoryError):  # the limit is to blame, not the file
            return {"memory": True}, b""
        return {"rejected": [error.reason, error.limit, error.value]}, b""


if __name__ == "__main__":
    serve_decodes(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)  # noqa: PLR2004
