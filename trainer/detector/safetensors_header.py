"""Reads and checks the header of a ``.safetensors`` file, before any tensor is loaded.

safetensors itself checks that the tensors lie side by side, cover the file and have the sizes of their shapes. This
module adds what it leaves out: limits on the file and its header, and a check for duplicate keys, which two readers may
resolve differently.
"""

import json
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

#: Enough for the largest backbone that anybody would score profile photos with.
MAX_FILE_BYTES = 4 * 1024**3
#: A card with the scores of 100,000 reference photos takes a tenth of this.
MAX_HEADER_BYTES = 16 * 1024**2
#: The largest backbones that we know have 2,000.
MAX_TENSORS = 10_000
MAX_RANK = 8
#: The first eight bytes of the file give the length of the header in bytes.
_LENGTH_BYTES = 8
#: How torch.save's files begin: a zip archive, or a pickle of protocol 2 to 5.
_PYTORCH = (b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6)))


class HeaderError(Exception):
    """Why a file may not be loaded as ``.safetensors``: one line without the file's name, which callers put first."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor's shape, and its type as safetensors names it: ``F32``, ``I64``, ..."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Header:
    """A file's metadata by key, and its tensors by name."""

    metadata: dict[str, str]
    tensors: dict[str, TensorInfo]


def read_header(path: Path) -> Header:
    """The header of a ``.safetensors`` file; raises `HeaderError` for a file that may not be loaded."""
    try:
        _check_text(path)
        with safe_open(path, framework="numpy") as file:
            tensors = {name: _outline(file, name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            return Header(file.metadata() or {}, tensors)
    except FileNotFoundError as error:
        raise HeaderError("does not exist") from error
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise HeaderError(f"is not a readable .safetensors file: {error}") from error


def _outline(file: Any, name: str) -> TensorInfo:
    part = file.get_slice(name)
    return TensorInfo(tuple(part.get_shape()), part.get_dtype())


def _check_text(path: Path) -> None:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for whoever writes to it
        raise HeaderError("is not a file" if not stat.S_ISDIR(found.st_mode) else "is a folder, not a file")
    size = found.st_size
    if size > MAX_FILE_BYTES:
        raise HeaderError(f"has {size} bytes (allowed: {MAX_FILE_BYTES})")
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if length > size:
            own = start.startswith(_PYTORCH)
            raise ValueError("it is a PyTorch file (.pth, .pt)" if own else "its header is longer than the file")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes (allowed: {MAX_HEADER_BYTES})")
        tensors = parse_strict_json(file.read(length) or b"{}")
    _check_outlines(tensors)


def _check_outlines(tensors: Any) -> None:
    """Limit their number and rank first: safetensors checks the rest, and takes long over many tensors."""
    if not isinstance(tensors, dict) or len(tensors) > MAX_TENSORS:
        raise ValueError(f"not an object of at most {MAX_TENSORS} tensors")
    ranks = [len(outline.get("shape", ())) for outline in tensors.values() if isinstance(outline, dict)]
    if ranks and max(ranks) > MAX_RANK:
        raise ValueError(f"a tensor of {max(ranks)} dimensions (allowed: {MAX_RANK})")


def parse_strict_json(text: str | bytes) -> Any:
    """Parse JSON; raises ValueError for invalid JSON and duplicate keys, and RecursionError for deep nesting."""
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"duplicate key {twice[:80]!r} in its header")
    return found
