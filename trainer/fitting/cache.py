"""A cache of embeddings on disk: each picture and view is embedded once for all runs, and read by memory-mapping.

It has a folder for each way of making embeddings, with segments: ``<id>.npy``, (n, D) float32, and ``<id>.keys``, n
keys. A segment's keys are written last, so that the half-written segment of a killed process does not count.
"""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.files import atomic_write

Embeddings = NDArray[np.float32]

_KEY = np.dtype("S64")  # hexadecimal: NumPy sorts and compares text, and drops zero bytes at the end of raw bytes


def embedding_key(image_sha256: str, view: str) -> bytes:
    """The key of an embedding in its folder: a digest of the file's SHA-256 and the view's name."""
    return hashlib.sha256(f"{image_sha256} {view}".encode()).hexdigest().encode()


@dataclass(frozen=True, slots=True)
class _Index:
    """The position of each embedding: sorted keys, and for each its segment's number and row."""

    keys: NDArray[np.bytes_]
    segments: NDArray[np.intp]
    rows: NDArray[np.intp]
    names: list[str]


class EmbeddingCache:
    """The embeddings made one way, by these ``parts``: preprocess fingerprint, backbone, normalisation and so on."""

    def __init__(self, root: Path, parts: Sequence[str]) -> None:
        self.folder = root / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "made-by.txt").write_text("\n".join(parts) + "\n")

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Ascending positions in ``keys`` of those that are not cached yet; of equal keys the first."""
        wanted, first = np.unique(np.array(keys, dtype=_KEY), return_index=True)
        return sorted(int(position) for position in first[~np.isin(wanted, self._index().keys)])

    def append(self, keys: Sequence[bytes], embeddings: Embeddings) -> None:
        """Add a segment of n keys and (n, D) embeddings; other processes may add theirs at the same time."""
        name = uuid.uuid4().hex
        for kind, array in (("npy", embeddings.astype(np.float32, copy=False)), ("keys", np.array(keys, dtype=_KEY))):
            with atomic_write(self.folder / f"{name}.{kind}") as part, part.open("wb") as file:
                np.save(file, array)

    def gather(self, keys: Sequence[bytes], path: Path) -> Embeddings:
        """(N, D) in the order of ``keys``, memory-mapped at ``path``; raises KeyError when one is missing."""
        index, wanted = self._index(), np.array(keys, dtype=_KEY)
        places = np.searchsorted(index.keys, wanted)
        if len(index.keys) == 0 or bool((index.keys[places.clip(max=len(index.keys) - 1)] != wanted).any()):
            raise KeyError(f"{self.folder} lacks some of {len(keys)} embeddings")
        segments, rows = index.segments[places], index.rows[places]
        shape = (len(keys), self._segment(index.names[0]).shape[1])
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        for number in np.unique(segments):
            here = np.flatnonzero(segments == number)
            out[here] = self._segment(index.names[number])[rows[here]]
        return out

    def _segment(self, name: str) -> Embeddings:
        segment: Embeddings = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return segment

    def _index(self) -> _Index:
        names = sorted(path.stem for path in self.folder.glob("[!.]*.keys"))
        keys = [np.load(self.folder / f"{name}.keys") for name in names]
        together = np.concatenate(keys) if keys else np.empty(0, dtype=_KEY)
        segments = np.repeat(np.arange(len(names)), [len(part) for part in keys])
        rows = np.concatenate([np.arange(len(part)) for part in keys]) if keys else np.empty(0, dtype=np.intp)
        order = np.argsort(together, kind="stable")
        return _Index(together[order], segments[order], rows[order], names)
