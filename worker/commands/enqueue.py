"""``unmask enqueue``: enqueues one photo, or a table of photos."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import TextIO

import click
from sqlalchemy.orm import Session

from db.access import audit
from db.commands.database import open_database
from db.commands.output import ProgressLines
from db.schema import LANES, Image
from db.settings import actor
from db.work.corrections import change_url
from db.work.images import NewImage
from worker.client import enqueue_many, new_image
from worker.core.errors import UsageError

Enqueue = Callable[[Session, Sequence[NewImage]], int]

_CHUNK = 1000
#: Characters in a line: an id, an account and the longest URL fit in many times.
_MAX_LINE = 100_000
_REQUIRED = ("account_id", "url")
_KNOWN = (*_REQUIRED, "image_id", "policy")


@click.command("enqueue")
@click.option("--account", help="The account that the photo belongs to.")
@click.option("--url", help="http(s) on an allowed host, or a path below the media root.")
@click.option("--image-id", help="Your own id of the photo, if it has one.")
@click.option("--policy", default="default", show_default=True, help="The policy whose threshold applies.")
@click.option(
    "--lane",
    type=click.Choice(LANES),
    help="Whether somebody waits for the score (upload, the default of one photo) or not (backfill, of a manifest).",
)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="Enqueue many: a CSV file with the columns account_id, url and optionally image_id, policy.",
)
@click.option(
    "--replace-url",
    is_flag=True,
    help="Give a known image that has no score the new URL (a fresh signature, say): it waits again.",
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
def enqueue_command(
    *,
    account: str | None,
    url: str | None,
    image_id: str | None,
    policy: str,
    lane: str | None,
    manifest: Path | None,
    replace_url: bool,
    quiet: bool,
) -> None:
    """Enqueue photos for scoring; prints the image's id, or how many photos of a manifest are new.

    Without image ids, a manifest's rows are new photos each time; with them, enqueuing it again adds nothing twice. A
    known id with another URL is an error, unless --replace-url is given: the audit log then notes the change.
    """
    enqueue = _replace_and_enqueue if replace_url else enqueue_many
    if manifest is not None:
        _enqueue_manifest(manifest, lane or "backfill", enqueue, quiet=quiet)
    elif account is not None and url is not None:
        if replace_url and image_id is None:
            raise UsageError("--replace-url needs --image-id: without it the photo is a new one")
        click.echo(_enqueue_one(account, url, image_id, policy, lane or "upload", enqueue))
    else:
        raise UsageError("enqueue needs both --account and --url, or --manifest CSV")


def _enqueue_one(account: str, url: str, image_id: str | None, policy: str, lane: str, enqueue: Enqueue) -> str:
    try:
        image = new_image(account_id=account, url=url, image_id=image_id, policy=policy, lane=lane)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with open_database().writing() as session:
        enqueue(session, [image])
    return image.id


def _replace_and_enqueue(session: Session, new: Sequence[NewImage]) -> int:
    """Give known images their new URLs, then enqueue the others; returns how many are new. Raises `ConflictError`."""
    for image in sorted(new, key=lambda image: image.id):  # all lock rows in this order
        known = session.get(Image, image.id)
        if known is None or known.account_id != image.account_id or known.policy != image.policy:
            continue  # a new image; or a conflict, which enqueuing it reports
        before = f"was {known.state}" + (f" ({known.reason})" if known.reason else "")
        if change_url(session, image.id, image.url):
            audit.log(session, actor(), "url_changed", image_id=image.id, detail=before)
    return enqueue_many(session, new)


def _enqueue_manifest(path: Path, lane: str, enqueue: Enqueue, *, quiet: bool) -> None:
    database = open_database()
    lines = ProgressLines(quiet=quiet)
    if path.is_file():  # report a bad row before anything is enqueued; a pipe can be read only once
        for number, _ in enumerate(_rows(path, "check", lane, quiet=quiet)):
            lines.show(f"{number} rows checked")
    total, added = 0, 0
    rows = _rows(path, "enqueue", lane, quiet=quiet)
    try:
        while chunk := list(islice(rows, _CHUNK)):
            with database.writing() as session:
                added += enqueue(session, chunk)
            total += len(chunk)
            lines.show(f"{total} rows enqueued")
    except BaseException:
        click.echo(f"the first {total} rows are enqueued, and none after them", err=True)
        raise
    click.echo(f"{added} images enqueued, {total - added} were known before", err=True)


def _rows(path: Path, what: str, lane: str, *, quiet: bool) -> Iterator[NewImage]:
    """The checked rows; raises `UsageError` naming the bad line."""
    try:
        with _opened(path, what, quiet=quiet) as file:
            reader = csv.DictReader(_lines(path, file), strict=True)
            _check_columns(path, reader.fieldnames or ())
            for row in reader:
                yield _image(path, reader.line_num, row, lane)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"manifest {path} is not a readable CSV file: {error}") from error


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines; raises `UsageError` for one that is no row of a table, before it fills the memory."""
    while line := file.readline(_MAX_LINE + 1):
        if len(line) > _MAX_LINE:
            raise UsageError(f"manifest {path} is not a CSV file: a line is longer than {_MAX_LINE} characters")
        yield line


def _opened(path: Path, what: str, *, quiet: bool) -> AbstractContextManager[TextIO]:
    """Open the file, with a progress bar on a terminal."""
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
        disable=quiet or not console.is_terminal,
    )


def _check_columns(path: Path, columns: object) -> None:
    names = list(columns) if isinstance(columns, list | tuple) else []
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        found = ", ".join(names) or "none"
        raise UsageError(f"manifest {path} has no column {', '.join(missing)}: it has {found}")
    for name in names:  # other columns are ignored
        meant = re.sub(r"[\s-]+", "_", name.strip().lower())
        if meant in _KNOWN and (name != meant or names.count(name) > 1):
            raise UsageError(f"manifest {path} has a column {name!r}: name it {meant}, once")


def _image(path: Path, line: int, row: dict[str, str | None], lane: str) -> NewImage:
    values = {name: row[name] for name in _KNOWN if row.get(name)}
    try:
        return new_image(
            **{"account_id": "", "url": "", **{name: value or "" for name, value in values.items()}}, lane=lane
        )
    except ValueError as error:
        raise UsageError(f"manifest {path}, line {line}: {error}") from error
