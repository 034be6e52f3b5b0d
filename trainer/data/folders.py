"""Makes a manifest from folders: ``real/[source/]…`` and ``fake/engine/[source/]…``."""

import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from db.stats.hash_fraction import hash_fraction
from trainer.data.manifest import LABELS, Manifest, read_manifest, unreadable
from trainer.errors import ManifestError
from trainer.files import atomic_write

#: Suffixes of the files to take. Others (HEIC, TIFF, notes) are passed over, and the summary names them.
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".avif")
#: How many files that were passed over a summary names for each suffix.
_NAMED = 3
#: The default share of groups in split "eval".
EVAL_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One line of a manifest; ``path`` is relative to the folder that was searched."""

    path: str
    label: str
    engine: str
    split: str
    group: str
    source: str


def build_manifest(folder: Path, out: Path, eval_share: float = EVAL_SHARE, *, skip_unreadable: bool = False) -> str:
    """Write the manifest of ``folder`` to ``out`` (CSV) and check it; returns a summary in sentences.

    It reads every picture whole. With ``skip_unreadable`` it leaves out those that cannot be used and writes them, each
    with its reason, to `skipped_path`. Otherwise it raises one `ManifestError` that lists all of them; the table is
    written all the same, so that it can be corrected.
    """
    rows = rows_of_folders(folder, eval_share)
    faulty = unreadable(folder / row.path for row in rows)
    if skip_unreadable:
        rows = [row for row in rows if folder / row.path not in faulty]
    write_manifest(rows, folder, out)
    _record_skipped(list(faulty.values()) if skip_unreadable else [], out)
    if faulty and not skip_unreadable:
        listed = "".join(f"\n  {fault}" for fault in faulty.values())
        raise ManifestError(
            f"{out}: {len(faulty)} of {len(rows)} pictures cannot be used; delete or replace them, or leave them out "
            f"with --skip-unreadable:{listed}"
        )
    left_out = f" {len(faulty)} pictures cannot be used and are left out: see {skipped_path(out)}." if faulty else ""
    return f"{out}: {_summary(read_manifest(out))}{left_out}{passed_over(folder)}"


def skipped_path(out: Path) -> Path:
    """The list of pictures that a manifest at ``out`` leaves out: ``faces.skipped.txt`` beside ``faces.csv``."""
    return out.with_name(f"{out.stem}.skipped.txt")


def passed_over(folder: Path) -> str:
    """A sentence on the files below ``real/`` and ``fake/`` that are not taken because of their names; "" if none."""
    others = [path for label in LABELS for path in _files_below(folder / label) if not _is_picture(path)]
    if not others:
        return ""
    counts = Counter(path.suffix.lower() or "no suffix" for path in others)
    told = "; ".join(f"{count} {suffix} ({_first(others, suffix)})" for suffix, count in counts.most_common())
    heic = " Convert HEIC files to JPEG to use them." if counts.keys() & {".heic", ".heif"} else ""
    return f" Passed over by name: {told}.{heic}"


def _first(paths: Sequence[Path], suffix: str) -> str:
    names = [" ".join(path.name.splitlines()) for path in paths if (path.suffix.lower() or "no suffix") == suffix]
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _record_skipped(faulty: Sequence[str], out: Path) -> None:
    """Write the list, or remove that of an earlier manifest."""
    if not faulty:
        skipped_path(out).unlink(missing_ok=True)
        return
    with atomic_write(skipped_path(out)) as part:
        part.write_text("".join(f"{fault}\n" for fault in faulty), encoding="utf-8")


def rows_of_folders(folder: Path, eval_share: float = EVAL_SHARE) -> list[ManifestRow]:
    """The pictures below ``real/`` and ``fake/``, sorted by path.

    A picture's group is its file name without suffix, so that versions of one picture stay together. The group's hash
    decides its split, so that it stays there whatever is added later. Raises `ManifestError` when there are no real
    pictures, no fake ones, or ``eval_share`` is not between 0 and 1.
    """
    if not 0 <= eval_share <= 1:
        raise ManifestError(f"the share held out for judging is {eval_share:g}, not between 0 and 1")
    rows = [_row(path, folder, eval_share) for label in LABELS for path in _pictures(folder / label)]
    lacking = [label for label in LABELS if label not in {row.label for row in rows}]
    if lacking:
        wanted = " and ".join(f"{label}/" for label in lacking)
        raise ManifestError(f"folder {folder} has no pictures ({', '.join(SUFFIXES)}) below {wanted}")
    return rows


def write_manifest(rows: Iterable[ManifestRow], folder: Path, out: Path) -> None:
    """Write rows of pictures below ``folder`` as a CSV file, with paths relative to that file's folder.

    Raises `ManifestError` when it cannot be written.
    """
    lines = [(_relative(folder / row.path, out.parent), *astuple(row)[1:]) for row in rows]
    try:
        with atomic_write(out) as part, part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([[field.name for field in fields(ManifestRow)], *lines])
    except (OSError, UnicodeEncodeError) as error:  # a file name may hold bytes that are not text
        raise ManifestError(f"manifest {out} cannot be written: {error}") from error


def _pictures(folder: Path) -> list[Path]:
    return [path for path in _files_below(folder) if _is_picture(path)]


def _files_below(folder: Path) -> list[Path]:
    """All files but hidden ones, sorted."""
    return sorted(path for path in folder.rglob("*") if not path.name.startswith(".") and path.is_file())


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _row(path: Path, folder: Path, eval_share: float) -> ManifestRow:
    name = path.relative_to(folder)
    label, *between = name.parts[:-1]
    engine = (between.pop(0) if between else "unknown") if label == "fake" else "camera"
    split = "eval" if hash_fraction(os.fsencode(path.stem)) < eval_share else "train"
    return ManifestRow(name.as_posix(), label, engine, split, path.stem, source=between[0] if between else "")


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _summary(manifest: Manifest) -> str:
    total = len(manifest.examples)
    fakes = sum(example.fake for example in manifest.examples)
    splits = [
        f"{split}: {', '.join(f'{n} {engine}' for engine, n in engines.items())}"
        for split, engines in manifest.counts().items()
    ]
    return f"{total} pictures, {total - fakes} real and {fakes} fake. {'. '.join(splits)}."
