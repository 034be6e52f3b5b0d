"""The manifest, a table of labelled pictures.

Its columns are ``path,label`` and optionally ``engine,family,source,split,group``, and cohorts.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from db.stats.hash_fraction import hash_fraction
from trainer.data.families import family_of
from trainer.data.tables import TableRow, parse_table, read_table
from trainer.detector.card_fields import Name, field_faults
from trainer.distributed.process import cores
from trainer.errors import ManifestError, Rejected
from trainer.pixels.limits import check_bytes
from trainer.pixels.preprocess import decode, open_checked

log = logging.getLogger(__name__)

LABELS = ("real", "fake")

#: The source of pictures whose manifest names none.
NO_SOURCE = "(not given)"
#: The share of groups that early stopping watches.
VALIDATION_SHARE = 0.1
#: Columns that an `Example` has a field for; all others are its ``columns``.
_OWN = ("path", "label", "engine", "split", "group")


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled picture. ``path`` is absolute; ``group`` keeps pictures of one person or series in one split.

    ``sha256`` is that of the file; ``columns`` are the table's other columns: ``source``, cohorts.
    """

    path: Path
    fake: bool
    engine: str
    split: str
    group: str
    sha256: str = ""
    columns: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def source(self) -> str:
        """Where the picture comes from: a site, a data set; `NO_SOURCE` when the manifest does not say."""
        return self.columns.get("source") or NO_SOURCE

    @property
    def family(self) -> str:
        """The family of its engine: the manifest's, else that of `trainer.data.families`."""
        return self.columns.get("family") or family_of(self.engine)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Labelled pictures in the order of the manifest's rows, and the manifest file's SHA-256."""

    examples: tuple[Example, ...]
    sha256: str
    #: Rows that were left out because their files cannot be used, each as ``path: why``.
    skipped: tuple[str, ...] = ()

    def split(self, name: str) -> list[Example]:
        """The pictures of one split, in order."""
        return [example for example in self.examples if example.split == name]

    def counts(self) -> dict[str, dict[str, int]]:
        """The number of pictures as ``{split: {engine: n}}``, sorted."""
        counts: dict[str, Counter[str]] = {}
        for example in self.examples:
            counts.setdefault(example.split, Counter())[example.engine] += 1
        return {split: dict(sorted(engines.items())) for split, engines in sorted(counts.items())}

    def sources(self) -> dict[str, dict[str, dict[str, int]]]:
        """The number of pictures as ``{split: {"real" or "fake": {source: n}}}``, sorted."""
        counts = Counter((one.split, LABELS[one.fake], one.source) for one in self.examples)
        sources: dict[str, dict[str, dict[str, int]]] = {}
        for (split, label, source), n in sorted(counts.items()):
            sources.setdefault(split, {}).setdefault(label, {})[source] = n
        return sources


def read_manifests(paths: Sequence[Path], *, skip_unreadable: bool = False) -> Manifest:
    """Read several manifests as one; raises `ManifestError` as `read_manifest` does, also for pictures in two of them.

    Groups of different manifests are different groups, whatever their names.
    """
    if len(paths) == 1:
        return read_manifest(paths[0], skip_unreadable=skip_unreadable)
    parts = [read_manifest(path, skip_unreadable=skip_unreadable) for path in paths]
    examples = tuple(
        replace(example, group=f"{number}:{example.group}")
        for number, part in enumerate(parts)
        for example in part.examples
    )
    if problems := _duplicates(examples):
        raise ManifestError(f"manifests {', '.join(map(str, paths))} have {'; '.join(problems)}")
    together = " ".join(part.sha256 for part in parts)
    return Manifest(examples, hashlib.sha256(together.encode()).hexdigest())


def read_manifest(path: Path, *, skip_unreadable: bool = False) -> Manifest:
    """Read and check a manifest, CSV or Parquet, and every picture's header, before any work starts.

    Paths are relative to the manifest's folder. Without a ``split`` column every picture is in ``train``. With
    ``skip_unreadable`` it decodes every picture whole, and leaves out those that are missing or cannot be used, with a
    warning in the log. Raises one `ManifestError` that names every problem, with counts. (The shortcut guard finds
    pictures that break later on.)
    """
    data = read_table(path)
    rows = parse_table(path, data)
    _check_columns(path, rows)
    usable = [row for row in rows if row["label"] in LABELS and row["path"] is not None]
    drafts = [_example(row, path.parent) for row in usable]
    files = _files({draft.path for draft in drafts}, check_whole if skip_unreadable else open_checked)
    skipped = _faults(files) if skip_unreadable else {}
    rows = [row for row in rows if row["path"] is None or path.parent / row["path"] not in skipped]
    drafts = [draft for draft in drafts if draft.path not in skipped]
    files = {name: file for name, file in files.items() if name not in skipped}
    if skipped:
        log.warning("%s: %d pictures are left out: %s", path, len(skipped), "; ".join(skipped.values()))
    examples = tuple(replace(draft, sha256=files[draft.path].sha256) for draft in drafts)
    problems = [*_row_problems(rows), *_file_problems(files), *_group_problems(examples), *_duplicates(examples)]
    problems += [f"no {label} pictures" for label in LABELS if label not in {row["label"] for row in rows}]
    problems += [*_name_problems("engine", examples), *_name_problems("split", examples)]
    problems += [*_name_problems("family", examples), *_name_problems("source", examples)]
    if problems:
        raise ManifestError(f"manifest {path} has {'; '.join(problems)}")
    return Manifest(examples, hashlib.sha256(data).hexdigest(), tuple(skipped.values()))


def hold_out_groups(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Divide a split into what is trained on and what early stopping watches; a group's name alone decides.

    Raises `ManifestError` when one of the two would hold only real or only fake pictures.
    """
    watched = [example for example in examples if _is_watched(example.group)]
    kept = [example for example in examples if not _is_watched(example.group)]
    for part in (kept, watched):
        if {example.fake for example in part} != {True, False}:
            groups = len({example.group for example in examples})
            raise ManifestError(
                f"--patience holds out one in {1 / VALIDATION_SHARE:.0f} of {groups} groups: "
                "too few for real and fake pictures"
            )
    return kept, watched


def _is_watched(group: str) -> bool:
    """Another draw than that of `trainer.data.folders`, which gives "train" no group that hashes below its share."""
    return hash_fraction(f"validation {group}".encode()) < VALIDATION_SHARE


def _example(row: TableRow, folder: Path) -> Example:
    fake, name = row["label"] == "fake", row["path"] or ""
    return Example(
        folder / name,
        fake,
        engine=row.get("engine") or ("unknown" if fake else "camera"),
        split=row.get("split") or "train",
        group=row.get("group") or name,
        columns={column: cell or "" for column, cell in row.items() if column not in _OWN},
    )


def _check_columns(path: Path, rows: Sequence[TableRow]) -> None:
    if not rows:
        raise ManifestError(f"manifest {path} has no rows")
    missing = [name for name in ("path", "label") if name not in rows[0]]
    if missing:
        raise ManifestError(f"manifest {path} has no column {', '.join(missing)}: it has {', '.join(rows[0])}")


def _row_problems(rows: Sequence[TableRow]) -> list[str]:
    short = sum(None in (row["path"], row["label"]) for row in rows)
    wrong = Counter(row["label"] for row in rows if row["label"] not in (*LABELS, None))
    problems = [f"{short} rows without a path or a label"] if short else []
    return [*problems, f"labels other than real and fake: {dict(wrong)}"] if wrong else problems


def _name_problems(column: str, examples: Iterable[Example]) -> list[str]:
    """Names that a checkpoint's card cannot hold as keys."""
    names = sorted({str(getattr(example, column)) for example in examples})
    return [fault for name in names for fault in field_faults(Name, f"the {column}", name)]


@dataclass(frozen=True, slots=True)
class _File:
    """A picture's SHA-256, or why the file has none."""

    sha256: str = ""
    missing: bool = False
    fault: str = ""


def check_whole(data: bytes) -> None:
    """Decode a picture whole; raises `Rejected` as `trainer.pixels.preprocess.decode` does."""
    decode(data)


def unreadable(paths: Iterable[Path]) -> dict[Path, str]:
    """Which of these pictures cannot be used, each as ``path: why``: it reads every file whole."""
    return _faults(_files(paths, check_whole))


def _faults(files: Mapping[Path, _File]) -> dict[Path, str]:
    """The files that are missing or cannot be used, each in one line."""
    found = {path: "the file is missing" if file.missing else file.fault for path, file in files.items()}
    return {path: " ".join(f"{path}: {fault}".splitlines()) for path, fault in found.items() if fault}


def _files(paths: Iterable[Path], check: Callable[[bytes], object]) -> dict[Path, _File]:
    ordered = sorted(paths)
    with ThreadPoolExecutor(cores()) as pool:
        return dict(zip(ordered, pool.map(partial(_file, check=check), ordered), strict=True))


def _file(path: Path, check: Callable[[bytes], object]) -> _File:
    try:
        if not path.is_file():
            return _File(missing=True)
        check_bytes(path.stat().st_size)  # before it is in memory
        data = path.read_bytes()
        check(data)
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
    """Files with the same bytes; each set of copies counts once for each kind of harm."""
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
    """One line, whatever characters the first name has."""
    return [f"{len(found)} {what} (the first: {' '.join(found[0].splitlines())})"] if found else []
