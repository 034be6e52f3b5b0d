"""A manifest from folders: ``real/[source/]…`` and ``fake/engine/[source/]…``, as people keep their pictures."""

import csv
import hashlib
import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from trainer.errors import ManifestError
from trainer.data.manifest import LABELS, Manifest, read

#: Names of files that are taken; others (notes, checksums) are left alone. Whether they are pictures is checked later.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
#: The share of groups held out for judging.
EVAL_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a manifest; ``path`` is relative to the folder that was looked through."""

    path: str
    label: str
    engine: str
    split: str
    group: str
    source: str


def build(folder: Path, out: Path, eval_share: float = EVAL_SHARE) -> str:
    """Write the manifest of ``folder`` to ``out`` (CSV), check it, and say in a sentence or two what it holds.

    Raises one `ManifestError` for all that is wrong with the pictures; the table is written nevertheless, to be mended.
    """
    write(from_folders(folder, eval_share), folder, out)
    return f"{out}: {_summary(read(out))}"


def from_folders(folder: Path, eval_share: float = EVAL_SHARE) -> list[Row]:
    """The pictures below ``real/`` and ``fake/``, by path.

    A picture's group is its file name without its ending, so that the versions of one picture stay together; the
    group's hash decides its split, so that it stays there whatever is added later. Raises `ManifestError` when there
    are no real pictures, or no fake ones.
    """
    if not 0 <= eval_share <= 1:
        raise ManifestError(f"the share held out for judging is {eval_share:g}, not between 0 and 1")
    rows = [_row(path, folder, eval_share) for label in LABELS for path in _pictures(folder / label)]
    lacking = [label for label in LABELS if label not in {row.label for row in rows}]
    if lacking:
        wanted = " and ".join(f"{label}/" for label in lacking)
        raise ManifestError(f"folder {folder} has no pictures ({', '.join(SUFFIXES)}) below {wanted}")
    return rows


def write(rows: Iterable[Row], folder: Path, out: Path) -> None:
    """Write rows of pictures below ``folder`` as a CSV file, with paths relative to where that file is."""
    lines = [(_relative(folder / row.path, out.parent), *astuple(row)[1:]) for row in rows]
    part = out.with_name(f".{out.name}.part")
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([[field.name for field in fields(Row)], *lines])
        part.replace(out)
    except (OSError, UnicodeEncodeError) as error:  # a file name may be bytes that are no text
        part.unlink(missing_ok=True)
        raise ManifestError(f"manifest {out} cannot be written: {error}") from error


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _row(path: Path, folder: Path, eval_share: float) -> Row:
    name = path.relative_to(folder)
    label, *between = name.parts[:-1]
    engine = (between.pop(0) if between else "unknown") if label == "fake" else "camera"
    split = "eval" if _place(path.stem) < eval_share else "train"
    return Row(name.as_posix(), label, engine, split, path.stem, source=between[0] if between else "")


def _place(group: str) -> float:
    """A number from 0 to 1 that depends on the group's name alone."""
    return int.from_bytes(hashlib.sha256(os.fsencode(group)).digest()[:6], "big") / 2**48


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
