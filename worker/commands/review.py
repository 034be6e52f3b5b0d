"""``unmask review``: deciding cases in a terminal, and exporting decisions as training data."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from db.commands.database import open_database
from db.commands.options import as_lead
from db.commands.output import emit, json_option
from db.commands.review import review_group
from db.privacy.pseudonyms import Pseudonyms, PseudonymSettings
from db.review.training_labels import training_labels

__all__ = ["review_group"]
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@review_group.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder to write to.")
@click.option("--policy", help="Only this policy's photos.")
@click.option("--since", type=click.DateTime(_DATES), help="Only decisions since then (UTC).")
@json_option
def export(*, out: Path, policy: str | None, since: datetime | None, as_json: bool) -> None:
    """Write decided photos as a manifest for the next fit.

    A photo that is gone or has changed is left out and named on stderr, and the exit status is 1. With UNMASK_LOG_KEY
    set, an account has the same group in every export.
    """
    from worker.core.settings import WorkerSettings
    from worker.photos import export as files
    from worker.photos.fetcher import Fetcher, upload_reader

    database = open_database()
    with database.writing() as session:
        as_lead(session)
    with database.reading() as session:
        found = training_labels(session, policy, since.replace(tzinfo=UTC) if since is not None else None)
    fetch = Fetcher(WorkerSettings.load(), upload_reader(database)).fetch
    pseudonyms = Pseudonyms(PseudonymSettings.load())
    with click.progressbar(found.labels, label="photos", file=sys.stderr) as bar:
        written, missing = files.export_photos(bar, out, fetch, pseudonyms.of)
    for photo in missing:
        click.echo(f"image {photo.image_id}: {photo.why}", err=True)
    fakes = sum(label.fake for label in written)
    row = {"fake": fakes, "real": len(written) - fakes, "missing": len(missing), "both": found.contradictory}
    emit([row | {"manifest": str(out / "manifest.csv")}], as_json=as_json, empty="")
    sys.exit(1 if missing else 0)
