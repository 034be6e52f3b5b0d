"""The table of training pictures: ``path,label`` and, where known, ``engine,split,group,source`` and cohorts."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from trainer.distributed.cores import cores
from trainer.errors import ManifestError, Rejected
from trainer.pixels.facts import header
from trainer.detector.fields import Name, faults
from trainer.pixels.limits import check_bytes
from trainer.data.tables import Row, load, parse

LABELS = ("real", "fake")

#: Columns that an `Example` has a field for; all others are its ``columns``.
_OWN = ("path", "label", "engine", "split", "group")


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled picture. ``path`` is absolute; ``group`` keeps pictures of one person or series in one split.

    ``sha256`` is that of the file; ``columns`` are the table's others: ``source``, cohorts, whatever people measure by.
    """

    path: Path
    fake: bool
    engine: str
    split: str
    group: str
    sha256: str = ""
    columns: dict[str, str] = field(default_factory=dict, hash=False)


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
    """Read and check a manifest, CSV or Parquet, and every picture's header; so that nothing is begun in vain.

    Paths are relative to the manifest's folder. Without a ``split`` column every picture is in ``train``. Raises one
    `ManifestError` that tells all that is wrong, with counts. (A picture broken further on is found by the guard.)
    """
    data = load(path)
    rows = parse(path, data)
    _check_columns(path, rows)
    usable = [row for row in rows if row["label"] in LABELS and row["path"] is not None]
    drafts = [_example(row, path.parent) for row in usable]
    files = _files({draft.path for draft in drafts})
    examples = tuple(replace(draft, sha256=files[draft.path].sha256) for draft in drafts)
    problems = [*_row_problems(rows), *_file_problems(files), *_group_problems(examples), *_duplicates(examples)]
    problems += [f"no {label} pictures" for label in LABELS if label not in {row["label"] for row in rows}]
    problems += [*_name_problems("engine", examples), *_name_problems("split", examples)]
    if problems:
        raise ManifestError(f"manifest {path} has {'; '.join(problems)}")
    return Manifest(examples, hashlib.sha256(data).hexdigest())


def _example(row: Row, folder: Path) -> Example:
    fake, name = row["label"] == "fake", row["path"] or ""
    return Example(
        folder / name,
        fake,
        engine=row.get("engine") or ("unknown" if fake else "camera"),
        split=row.get("split") or "train",
        group=row.get("group") or name,
        columns={column: cell or "" for column, cell in row.items() if column not in _OWN},
    )


def _check_columns(path: Path, rows: Sequence[Row]) -> None:
    if not rows:
        raise ManifestError(f"manifest {path} has no rows")
    missing = [name for name in ("path", "label") if name not in rows[0]]
    if missing:
        raise ManifestError(f"manifest {path} has no column {', '.join(missing)}: it has {', '.join(rows[0])}")


def _row_problems(rows: Sequence[Row]) -> list[str]:
    short = sum(None in (row["path"], row["label"]) for row in rows)
    wrong = Counter(row["label"] for row in rows if row["label"] not in (*LABELS, None))
    problems = [f"{short} rows without a path or a label"] if short else []
    return [*problems, f"labels other than real and fake: {dict(wrong)}"] if wrong else problems


def _name_problems(column: str, examples: Iterable[Example]) -> list[str]:
    """Those that cannot be keys of a card."""
    names = sorted({str(getattr(example, column)) for example in examples})
    return [fault for name in names for fault in faults(Name, f"the {column}", name)]


@dataclass(frozen=True, slots=True)
class _File:
    """What was found at a path: a picture's SHA-256, or why there is none."""

    sha256: str = ""
    missing: bool = False
    fault: str = ""


def _files(paths: Iterable[Path]) -> dict[Path, _File]:
    ordered = sorted(paths)
    with ThreadPoolExecutor(cores()) as pool:
        return dict(zip(ordered, pool.map(_file, ordered), strict=True))


def _file(path: Path) -> _File:
    try:
        if not path.is_file():
            return _File(missing=True)
        check_bytes(path.stat().st_size)  # before it is in memory
        data = path.read_bytes()
        header(data)
    except (OSError, Rejected) as error:
        return _File(fault=str(error))
    return _File(hashlib.sha256(data).hexdigest())


def _file_problems(files: Mapping[Path, _File]) -> list[str]:
    missing = [str(path) for path, file in files.items() if file.missing]
    faulty = [f"{path}: {file.fault}" for path, file in files.items() if file.fault]
    return [*_told("missing files", missing), *_told("unreadable pictures", faulty)]


def _group_problems(examples: Sequence[Example]) -> list[str]:
    splits: dict[str, set[str]] = {}
    for example in examples:
        splits.setdefault(example.group, set()).add(example.split)
    return _told("groups in more than one split", [group for group, names in splits.items() if len(names) > 1])


def _duplicates(examples: Sequence[Example]) -> list[str]:
    """Files of the same bytes: each counts once for each way in which it does harm."""
    same: dict[str, list[Example]] = {}
    for example in examples:
        if example.sha256:
            same.setdefault(example.sha256, []).append(example)
    repeated = [copies for copies in same.values() if len(copies) > 1]
    both = [copies for copies in repeated if len({copy.fake for copy in copies}) > 1]
    torn = [copies for copies in repeated if len({copy.split for copy in copies}) > 1]
    twice = [copies for copies in repeated if len({(copy.fake, copy.split) for copy in copies}) < len(copies)]
    kinds = {
        "pictures under both labels": both,
        "pictures in more than one split": torn,
        "pictures more than once in one label and split": twice,
    }
    return [line for what, found in kinds.items() for line in _told(what, [_names(copies) for copies in found])]


def _names(copies: Sequence[Example]) -> str:
    return " = ".join(str(copy.path) for copy in copies[:2])


def _told(what: str, found: Sequence[str]) -> list[str]:
    """In one line, whatever characters a file's name has."""
    return [f"{len(found)} {what} (the first: {' '.join(found[0].splitlines())})"] if found else []
