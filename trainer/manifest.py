"""The table of training pictures: ``path,label`` and, where known, ``engine,split,group``."""

import csv
import hashlib
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import ManifestError

LABELS = ("real", "fake")


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled picture. ``path`` is absolute; ``group`` keeps pictures of one person or series in one split."""

    path: Path
    fake: bool
    engine: str
    split: str
    group: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Labelled pictures, in the order of their file, and the file's SHA-256."""

    examples: tuple[Example, ...]
    sha256: str

    def split(self, name: str) -> list[Example]:
        """The pictures of one split."""
        return [example for example in self.examples if example.split == name]

    def counts(self) -> dict[str, dict[str, int]]:
        """``{split: {engine: n}}``."""
        counts: dict[str, Counter[str]] = {}
        for example in self.examples:
            counts.setdefault(example.split, Counter())[example.engine] += 1
        return {split: dict(sorted(engines.items())) for split, engines in sorted(counts.items())}


def read(path: Path) -> Manifest:
    """Read and check a manifest; raises one `ManifestError` that tells all that is wrong, with counts.

    Paths are relative to the manifest's folder. Without a ``split`` column every picture is in ``train``.
    """
    try:
        data = path.read_bytes()
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except FileNotFoundError as error:
        raise ManifestError(f"manifest {path} does not exist") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"manifest {path} is not a readable CSV file: {error}") from error
    _check_columns(path, rows)
    _check_labels(path, rows)
    examples = tuple(_example(row, path.parent) for row in rows)
    _check_examples(path, examples)
    return Manifest(examples, hashlib.sha256(data).hexdigest())


def _example(row: dict[str, str], folder: Path) -> Example:
    fake = row["label"] == "fake"
    engine = row.get("engine") or ("unknown" if fake else "camera")
    return Example(folder / row["path"], fake, engine, row.get("split") or "train", row.get("group") or row["path"])


def _check_columns(path: Path, rows: list[dict[str, str]]) -> None:
    if not rows:
        raise ManifestError(f"manifest {path} has no rows")
    missing = [name for name in ("path", "label") if name not in rows[0]]
    if missing:
        found = ", ".join(filter(None, rows[0]))
        raise ManifestError(f"manifest {path} has no column {', '.join(missing)}: it has {found}")
    short = sum(None in (row["path"], row["label"]) for row in rows)
    if short:
        raise ManifestError(f"manifest {path} has {short} rows without a path or a label")


def _check_labels(path: Path, rows: list[dict[str, str]]) -> None:
    wrong = Counter(row["label"] for row in rows if row["label"] not in LABELS)
    if wrong:
        raise ManifestError(f"manifest {path} has labels other than real and fake: {dict(wrong)}")


def _check_examples(path: Path, examples: tuple[Example, ...]) -> None:
    missing = [example.path for example in examples if not example.path.is_file()]
    splits: dict[str, set[str]] = {}
    for example in examples:
        splits.setdefault(example.group, set()).add(example.split)
    torn = [group for group, names in splits.items() if len(names) > 1]
    problems = [
        f"{len(found)} {what} (the first: {found[0]})"
        for found, what in ((missing, "missing files"), (torn, "groups in more than one split"))
        if found
    ]
    if problems:
        raise ManifestError(f"manifest {path} has {'; '.join(problems)}")
