"""The child process that decodes pictures which may be deadly: bytes in by stdin, pixels out by stdout.

It imports the decoder and nothing else of the house, and limits itself before it touches a byte. See `isolation`.
"""

import io
import json
import resource
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from PIL import Image

from trainer.errors import Rejected
from trainer.pixels.preprocess import SIZE, decode, upright

#: Lengths that go before what they measure: of the kind and the picture, and of the answer's head and body.
LENGTHS = struct.Struct("!II")
_JPEG_QUALITY = 90


def pixels(data: bytes) -> tuple[dict[str, Any], bytes]:
    """What is scored: 512×512×3 bytes."""
    picture = decode(data)
    more = {"animated": picture.animated}
    return {
        "width": picture.width,
        "height": picture.height,
        "format": picture.format,
        **more,
    }, picture.pixels.tobytes()


def preview(data: bytes) -> tuple[dict[str, Any], bytes]:
    """What people are shown: a new JPEG of at most 512×512 in its own proportions, without any of the file's bytes."""
    image = upright(data)
    image.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=_JPEG_QUALITY)
    return {}, out.getvalue()


KINDS: dict[str, Callable[[bytes], tuple[dict[str, Any], bytes]]] = {"pixels": pixels, "preview": preview}


def main(memory_bytes: int, cpu_s: int) -> None:
    """Answer until stdin ends."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while lengths := sys.stdin.buffer.read(LENGTHS.size):
        kind, data = read(sys.stdin.buffer, lengths)
        _allow(cpu_s)
        head, body = _answer(kind.decode(), data)
        write(sys.stdout.buffer, json.dumps(head).encode(), body)


def read(stream: BinaryIO, lengths: bytes) -> tuple[bytes, bytes]:
    """Two parts, whose lengths were read already."""
    first, second = LENGTHS.unpack(lengths)
    return stream.read(first), stream.read(second)


def write(stream: BinaryIO, first: bytes, second: bytes) -> None:
    """Two parts, after their lengths."""
    stream.write(LENGTHS.pack(len(first), len(second)) + first)
    stream.write(second)
    stream.flush()


def _allow(cpu_s: int) -> None:
    """So much processor time from now on; past it the kernel kills this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 1 + cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _answer(kind: str, data: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        return KINDS[kind](data)
    except MemoryError:
        return {"memory": True}, b""
    except Rejected as error:
        if isinstance(error.__cause__, MemoryError):  # the limit's fault, and not the file's
            return {"memory": True}, b""
        return {"rejected": [error.reason, error.limit, error.value]}, b""


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
