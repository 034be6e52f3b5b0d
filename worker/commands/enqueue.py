"""``unmask enqueue``: one photo, or a table of them."""

import csv
import re
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import TextIO

import click

from db.cli import open_database
from db.work.images import NewImage
from worker.client import enqueue_many, new_image
from worker.core.errors import UsageError

_CHUNK = 1000
_REQUIRED = ("account_id", "url")
_KNOWN = (*_REQUIRED, "image_id", "policy")


@click.command()
@click.option("--account", help="Whose photo it is.")
@click.option("--url", help="http(s) on an allowed host, or a path below the media root.")
@click.option("--image-id", help="Yours, if you have one.")
@click.option("--policy", default="default", show_default=True, help="Whose threshold applies.")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="Many at once: a CSV file with the columns account_id, url and, if you like, image_id, policy.",
)
def enqueue(*, account: str | None, url: str | None, image_id: str | None, policy: str, manifest: Path | None) -> None:
    """Put photos in line for the workers; prints the image's id, or how many of a manifest were new.

    Without image ids a manifest's rows are new photos each time; with them, running it again adds nothing twice.
    """
    if manifest is not None:
        _enqueue_manifest(manifest)
    elif account is not None and url is not None:
        click.echo(_enqueue_one(account, url, image_id, policy))
    else:
        raise UsageError("enqueue needs --account and --url, or --manifest CSV")


def _enqueue_one(account: str, url: str, image_id: str | None, policy: str) -> str:
    try:
        image = new_image(account_id=account, url=url, image_id=image_id, policy=policy)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with open_database().writing() as session:
        enqueue_many(session, [image])
    return image.id


def _enqueue_manifest(path: Path) -> None:
    database = open_database()
    if path.is_file():  # what is wrong in it is said before anything is in line; a pipe is read only once
        deque(_rows(path, "check"), maxlen=0)
    total, added = 0, 0
    rows = _rows(path, "enqueue")
    try:
        while chunk := list(islice(rows, _CHUNK)):
            with database.writing() as session:
                added += enqueue_many(session, chunk)
            total += len(chunk)
    except BaseException:
        click.echo(f"its first {total} rows are in line, and none after them", err=True)
        raise
    click.echo(f"{added} images in line, {total - added} were known", err=True)


def _rows(path: Path, what: str) -> Iterator[NewImage]:
    """Checked rows; raises `UsageError` naming the line that is wrong."""
    try:
        with _opened(path, what) as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, reader.fieldnames or ())
            for row in reader:
                yield _image(path, reader.line_num, row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"manifest {path} is not a readable CSV file: {error}") from error


def _opened(path: Path, what: str) -> AbstractContextManager[TextIO]:
    """With a bar on a terminal that says how much has been read."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    return progress.open(
        path,
        "rt",
        newline="",
        encoding="utf-8-sig",
        description=f"{what} {path.name}",
        console=console,
        disable=not console.is_terminal,
    )


def _check_columns(path: Path, columns: object) -> None:
    names = list(columns) if isinstance(columns, list | tuple) else []
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        found = ", ".join(names) or "none"
        raise UsageError(f"manifest {path} has no column {', '.join(missing)}: it has {found}")
    for name in names:  # other columns are nobody's business here
        meant = re.sub(r"[\s-]+", "_", name.strip().lower())
        if meant in _KNOWN and (name != meant or names.count(name) > 1):
            raise UsageError(f"manifest {path} has a column {name!r}, where {meant} is wanted once")


def _image(path: Path, line: int, row: dict[str, str | None]) -> NewImage:
    values = {name: row[name] for name in _KNOWN if row.get(name)}
    try:
        return new_image(**{"account_id": "", "url": "", **{name: value or "" for name, value in values.items()}})
    except ValueError as error:
        raise UsageError(f"manifest {path}, line {line}: {error}") from error
