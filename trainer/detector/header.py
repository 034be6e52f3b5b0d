"""What a ``.safetensors`` file says that it holds, before any of it is loaded.

safetensors itself checks that the tensors lie side by side, cover the file and have the sizes of their shapes. Here is
what it leaves out: how large a file and its header may be, and names that are given twice, of which two readers may
take different ones.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

#: Enough for the largest backbone that anybody would score profile photos with.
MAX_FILE_BYTES = 4 * 1024**3
#: A card with the scores of 100,000 reference photos takes a tenth of it.
MAX_HEADER_BYTES = 16 * 1024**2
#: Of what we know, the largest backbones have 2,000.
MAX_TENSORS = 10_000
MAX_RANK = 8
#: How long the header is, in bytes, stands in the first eight.
_LENGTH_BYTES = 8


class HeaderError(Exception):
    """Why a file is no ``.safetensors`` file that may be loaded; one line, without the file's name."""


@dataclass(frozen=True, slots=True)
class TensorOutline:
    """A tensor's shape, and its type as safetensors names it: ``F32``, ``I64``, ..."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Header:
    """A file's free text by key, and its tensors by name."""

    metadata: dict[str, str]
    tensors: dict[str, TensorOutline]


def read_header(path: Path) -> Header:
    """The header of a ``.safetensors`` file; raises `HeaderError`."""
    try:
        _check_text(path)
        with safe_open(path, framework="numpy") as file:
            tensors = {name: _outline(file, name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            return Header(file.metadata() or {}, tensors)
    except FileNotFoundError as error:
        raise HeaderError("does not exist") from error
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise HeaderError(f"is not a readable .safetensors file: {error}") from error


def _outline(file: Any, name: str) -> TensorOutline:
    part = file.get_slice(name)
    return TensorOutline(tuple(part.get_shape()), part.get_dtype())


def _check_text(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise HeaderError(f"has {size} bytes (allowed: {MAX_FILE_BYTES})")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes (allowed: {MAX_HEADER_BYTES})")
        tensors = read_once(file.read(length) or b"{}")
    _check_outlines(tensors)


def _check_outlines(tensors: Any) -> None:
    """All else is for safetensors to check, which takes its time for many of them."""
    if not isinstance(tensors, dict) or len(tensors) > MAX_TENSORS:
        raise ValueError(f"not an object of at most {MAX_TENSORS} tensors")
    ranks = [len(outline.get("shape", ())) for outline in tensors.values() if isinstance(outline, dict)]
    if ranks and max(ranks) > MAX_RANK:
        raise ValueError(f"a tensor of {max(ranks)} dimensions (allowed: {MAX_RANK})")


def read_once(text: str | bytes) -> Any:
    """What JSON says; raises ValueError also where it says something twice, or RecursionError."""
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{twice[:80]!r} stands twice in its header")
    return found
