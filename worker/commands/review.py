"""``unmask review``: deciding cases in a terminal, and what was decided as training data."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from db.cli import open_database
from db.commands.review import COMMANDS
from db.review.labels import labels
from db.output import emit, json_option
from db.privacy.pseudonyms import Pseudonyms, PseudonymSettings

_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@click.group()
def review() -> None:
    """Decide cases one after another, take decisions back, hear appeals, judge sampled photos."""


for command in COMMANDS:
    review.add_command(command)


@review.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="A folder.")
@click.option("--policy", help="Only this policy's photos.")
@click.option("--since", type=click.DateTime(_DATES), help="Only what was decided since (UTC).")
@json_option
def export(*, out: Path, policy: str | None, since: datetime | None, as_json: bool) -> None:
    """Write decided photos as a manifest for the next fit: photos of cases, and judged samples.

    A photo that is gone or has changed is left out and named on stderr; then the exit status is 1. UNMASK_LOG_KEY
    makes the groups of one export those of the next.
    """
    from worker.photos import export as files
    from worker.photos.fetch import Fetcher
    from worker.core.settings import WorkerSettings

    with open_database().reading() as session:
        found = labels(session, policy, since.replace(tzinfo=UTC) if since is not None else None)
    fetch, pseudonyms = Fetcher(WorkerSettings.load()).fetch, Pseudonyms(PseudonymSettings.load())
    with click.progressbar(found.labels, label="photos", file=sys.stderr) as bar:
        written, missing = files.export(bar, out, fetch, pseudonyms.of)
    for photo in missing:
        click.echo(f"image {photo.image_id}: {photo.why}", err=True)
    fakes = sum(label.fake for label in written)
    row = {"fake": fakes, "real": len(written) - fakes, "missing": len(missing), "both": found.contradictory}
    emit([row | {"manifest": str(out / "manifest.csv")}], as_json=as_json, empty="")
    sys.exit(1 if missing else 0)
