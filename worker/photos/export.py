"""Writes decided photos as a trainer's manifest: the files as they were scored, each under its digest."""

import csv
import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from db.review.labels import Label
from trainer.errors import Rejected
from worker.core.errors import FetchError, UsageError, WorkerError

COLUMNS = ("path", "label", "group", "source", "policy")
_PHOTOS = "photos"


@dataclass(frozen=True, slots=True)
class Missing:
    """A photo that could not be had, or is another one by now."""

    image_id: str
    why: str


def export(
    labels: Iterable[Label], folder: Path, fetch: Callable[[str], bytes], pseudonym: Callable[[str], str]
) -> tuple[list[Label], list[Missing]]:
    """Write ``folder/manifest.csv`` and its photos; returns what is in it, and what is not.

    ``group`` is the account's pseudonym, so that no person is in two splits. What an earlier export left there is not
    fetched again.
    """
    written, missing = [], []
    try:
        (folder / _PHOTOS).mkdir(parents=True, exist_ok=True)
        for label in labels:
            try:
                _keep(folder / _PHOTOS / label.sha256, label, fetch)
                written.append(label)
            except (Rejected, WorkerError) as error:
                missing.append(Missing(label.image_id, str(error)))
        _write_manifest(folder / "manifest.csv", written, pseudonym)
    except OSError as error:
        raise UsageError(f"folder {folder} cannot be written: {error.strerror}") from error
    return written, missing


def _keep(path: Path, label: Label, fetch: Callable[[str], bytes]) -> None:
    if path.is_file():
        return
    data = fetch(label.url)
    if hashlib.sha256(data).hexdigest() != label.sha256:
        raise FetchError("changed", "it is not the file that was scored")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(path)


def _write_manifest(path: Path, labels: Iterable[Label], pseudonym: Callable[[str], str]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for label in labels:
            name = "fake" if label.fake else "real"
            rows.writerow((f"{_PHOTOS}/{label.sha256}", name, pseudonym(label.account_id), label.source, label.policy))
    part.replace(path)
