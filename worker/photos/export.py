"""Writes decided photos as a manifest for the trainer: the files as they were scored, each named by its digest."""

import csv
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from db.review.training_labels import TrainingLabel
from trainer.errors import Rejected
from trainer.files import atomic_write
from worker.core.errors import FetchError, UsageError, WorkerError

COLUMNS = ("path", "label", "group", "source", "policy")
_PHOTOS = "photos"


@dataclass(frozen=True, slots=True)
class MissingPhoto:
    """A photo that could not be fetched, or whose file has changed."""

    image_id: str
    why: str


def export_photos(
    labels: Iterable[TrainingLabel], folder: Path, fetch: Callable[[str], bytes], pseudonym: Callable[[str], str]
) -> tuple[list[TrainingLabel], list[MissingPhoto]]:
    """Write ``folder/manifest.csv`` and its photos; returns the labels in it, and the photos left out.

    ``group`` is the account's pseudonym, so that no person is in two splits. Photos that an earlier export wrote are
    not fetched again. Raises `UsageError` when the folder cannot be written.
    """
    written, missing = [], []
    try:
        (folder / _PHOTOS).mkdir(parents=True, exist_ok=True)
        for label in labels:
            try:
                _keep(folder / _PHOTOS / label.sha256, label, fetch)
                written.append(label)
            except (Rejected, WorkerError) as error:
                missing.append(MissingPhoto(label.image_id, str(error)))
        _write_manifest(folder / "manifest.csv", written, pseudonym)
    except OSError as error:
        raise UsageError(f"folder {folder} cannot be written: {error.strerror}") from error
    return written, missing


def _keep(path: Path, label: TrainingLabel, fetch: Callable[[str], bytes]) -> None:
    if path.is_file():
        return
    data = fetch(label.url)
    if hashlib.sha256(data).hexdigest() != label.sha256:
        raise FetchError("changed", "the file is not the one that was scored")
    with atomic_write(path) as part:
        part.write_bytes(data)


def _write_manifest(path: Path, labels: Iterable[TrainingLabel], pseudonym: Callable[[str], str]) -> None:
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for label in labels:
            name = "fake" if label.fake else "real"
            rows.writerow((f"{_PHOTOS}/{label.sha256}", name, pseudonym(label.account_id), label.source, label.policy))
