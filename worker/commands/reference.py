"""``unmask reference``: sets of real photos on which false positive rates are measured."""

import csv
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from db.models import references, versions
from db.cli import open_database
from db.commands.options import signed
from db.output import emit, json_option
from db.models.references import Built, Origin
from db.models.reviewed import reviewed
from db.schema import ReferenceSet
from db.store.session import Database
from worker.core.errors import UsageError

_REQUIRED = ("path", "label")


@click.group()
def reference() -> None:
    """Sets of real photos on which false positive rates are measured."""


@reference.command()
@click.argument("name")
@click.option("--manifest", type=click.Path(path_type=Path, dir_okay=False), help="CSV with columns path,label.")
@click.option("--from-reviews", is_flag=True, help="Photos of the platform, less those that reviewers confirmed.")
@click.option("--model", help="Which version scores them; the active one when not given.")
@json_option
def build(*, name: str, manifest: Path | None, from_reviews: bool, model: str | None, as_json: bool) -> None:
    """Keep the scores of real photos, without a pixel, under this name.

    Of a manifest the real ones are scored, but those of the split "train", which a model knows; exits with 1 when some
    could not be. From reviews the scores are there already, and the false positive rate is an upper limit.
    """
    if (manifest is None) == (not from_reviews):
        raise click.UsageError("needs --manifest CSV or --from-reviews: one of them")
    database = open_database()
    with database.reading() as session:
        version = versions.named(session, model) if model else versions.active(session)
    left_out = 0
    if manifest is None:
        found = _reviewed(database, version.name)
    else:
        found, left_out = _scored(manifest, version.sha256)
    with database.writing() as session:
        added = references.add(session, versions.named(session, version.name), name, found.scores, found.origin)
        row = _row(added, version.name)
    emit([row], as_json=as_json, empty="")
    sys.exit(1 if left_out else 0)


@reference.command("list")
@json_option
def list_references(*, as_json: bool) -> None:
    """The sets that were built; every model also has the reals of its card."""
    with open_database().reading() as session:
        names = {version.id: version.name for version in versions.list_versions(session)}
        rows = [_row(row, names[row.version_id]) for row in references.list_sets(session)]
    emit(rows, as_json=as_json, empty="none was built: unmask reference build NAME --manifest CSV")


def _reviewed(database: Database, model: str) -> Built:
    with database.reading() as session:
        return reviewed(session, versions.named(session, model), signed("").author)


def _scored(manifest: Path, sha256: str) -> tuple[Built, int]:
    """The manifest's reals as this version scores them, and how many it could not."""
    photos = _reals(manifest)
    scores, digest = _scores(photos, sha256)
    return Built(scores, Origin(str(manifest), digest, signed("").author)), len(photos) - len(scores)


def _reals(manifest: Path) -> list[Path]:
    """The real photos, but those that models were trained on; raises `UsageError` for a table that is none."""
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = [column for column in _REQUIRED if column not in (rows.fieldnames or [])]
            if missing:
                raise UsageError(f"manifest {manifest} has no column {', '.join(missing)}")
            found = [row["path"] for row in rows if row["label"] == "real" and row.get("split") != "train"]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"manifest {manifest} is not a readable CSV file: {error}") from error
    if not found:
        raise UsageError(f"manifest {manifest} has no real photo outside the split 'train'")
    return [manifest.parent / path for path in found]


def _scores(photos: list[Path], sha256: str) -> tuple[list[float], str]:
    """Scores of those that can be scored, and the digest of which photos they are, in whatever order they came."""
    from worker.inference.scorer import Scorer
    from worker.core.settings import WorkerSettings

    settings = WorkerSettings.load()
    scorer = Scorer.open(settings.models_dir / f"{sha256}.safetensors", settings.device, sha256, settings.engine)
    found, digests = [], []
    with click.progressbar(photos, label="scored", file=sys.stderr) as bar:
        for score, digest in _each(scorer, bar):
            found.append(score)
            digests.append(digest)
    return found, hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _each(scorer: Any, photos: Any) -> Iterator[tuple[float, str]]:
    from trainer.errors import Rejected
    from trainer.pixels.preprocess import decode

    for photo in photos:
        try:
            data = photo.read_bytes()
            yield scorer.score([decode(data).pixels])[0], hashlib.sha256(data).hexdigest()
        except (Rejected, OSError) as error:
            click.echo(f"{photo}: {error}", err=True)


def _row(row: ReferenceSet, model: str) -> dict[str, Any]:
    return {
        "name": row.name,
        "model": model,
        "reals": row.reals,
        "source": row.source,
        "author": row.author,
        "built_at": row.created_at,
    }
