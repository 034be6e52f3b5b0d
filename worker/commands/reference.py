"""``unmask reference``: sets of real photos on which false positive rates are measured; building one needs torch."""

import csv
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.options import as_lead, author
from db.commands.output import emit, json_option
from db.models import references, versions
from db.models.references import ReferenceOrigin, ReferenceScores, reference_from_reviews
from db.schema import ReferenceSet
from db.stats.cohorts import cohort_columns, sort_with_cohorts
from db.store.session import Database
from worker.core.errors import UsageError

_REQUIRED = ("path", "label")
#: Columns that say what a photo is, not to which group of photos it belongs.
_NO_COHORTS = ("path", "label", "engine", "split", "group", "sha256")
#: Characters of a message about one photo: its path may have any length.
_SHOWN = 600


@click.group(cls=WholeHelpGroup)
def reference() -> None:
    """Build and list sets of real photos on which false positive rates are measured."""


@reference.command()
@click.argument("name")
@click.option("--manifest", type=click.Path(path_type=Path, dir_okay=False), help="CSV with columns path,label.")
@click.option("--from-reviews", is_flag=True, help="The platform's own photos, without those that reviewers confirmed.")
@click.option(
    "--cohort",
    "columns",
    multiple=True,
    help="A column of the manifest that divides the photos, such as camera; by default all with a few values.",
)
@click.option("--model", help="The version that scores them; by default the active one.")
@json_option
def build(
    *,
    name: str,
    manifest: Path | None,
    from_reviews: bool,
    columns: tuple[str, ...],
    model: str | None,
    as_json: bool,
) -> None:
    """Store the scores of real photos, but no pixels, under this name.

    From a manifest, scores its real photos except the split "train", which models have seen; exits with 1 when some
    cannot be scored. From reviews, uses the scores on record; the false positive rate is then an upper limit.
    """
    if (manifest is None) == (not from_reviews):
        raise click.UsageError("give either --manifest CSV or --from-reviews")
    if columns and manifest is None:
        raise click.UsageError("--cohort names columns of a manifest: give --manifest CSV")
    database = open_database()
    with database.reading() as session:
        version = versions.by_name(session, model) if model else versions.active(session)
    left_out = 0
    if manifest is None:
        found = _reviewed(database, version.name)
    else:
        found, left_out = _scored(manifest, version.sha256, columns)
    with database.writing() as session:
        as_lead(session)
        added = references.add_reference(
            session, versions.by_name(session, version.name), name, found.scores, found.origin, found.cohorts
        )
        row = _row(added, version.name)
    emit([row], as_json=as_json, empty="")
    sys.exit(1 if left_out else 0)


@reference.command("list")
@json_option
def list_references(*, as_json: bool) -> None:
    """List the sets that were built; every model also has the reals of its card."""
    with open_database().reading() as session:
        names = {version.id: version.name for version in versions.list_versions(session)}
        rows = [_row(row, names[row.version_id]) for row in references.list_references(session)]
    emit(rows, as_json=as_json, empty="no reference set; build one: unmask reference build NAME --manifest CSV")


def _reviewed(database: Database, model: str) -> ReferenceScores:
    with database.reading() as session:
        return reference_from_reviews(session, versions.by_name(session, model), author("").author)


def _scored(manifest: Path, sha256: str, columns: tuple[str, ...]) -> tuple[ReferenceScores, int]:
    """This version's scores of the manifest's reals, and how many could not be scored."""
    reals = _reals(manifest)
    _check_columns(manifest, reals, columns)
    scores, digest = _scores([manifest.parent / row["path"] for row in reals], sha256)
    origin = ReferenceOrigin(str(manifest), digest, author("").author)
    rows: list[dict[str, str | None]] = [{**reals[number]} for number in scores]
    chosen = columns or cohort_columns(rows, _NO_COHORTS)
    ascending, cohorts = sort_with_cohorts(list(scores.values()), rows, chosen)
    return ReferenceScores(ascending, origin, cohorts), len(reals) - len(scores)


def _check_columns(manifest: Path, reals: list[dict[str, str]], columns: tuple[str, ...]) -> None:
    unknown = sorted(set(columns) - set(reals[0]))
    if unknown:
        raise UsageError(f"manifest {manifest} has no column {', '.join(unknown)}: it has {', '.join(reals[0])}")


def _reals(manifest: Path) -> list[dict[str, str]]:
    """The real photos that models were not trained on; raises `UsageError` for a bad manifest."""
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = [column for column in _REQUIRED if column not in (rows.fieldnames or [])]
            if missing:
                raise UsageError(f"manifest {manifest} has no column {', '.join(missing)}")
            found = [row for row in rows if row["label"] == "real" and row.get("split") != "train" and row["path"]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"manifest {manifest} is not a readable CSV file: {error}") from error
    if not found:
        raise UsageError(f"manifest {manifest} has no real photo outside the split 'train'")
    # A row that is longer than the header has its surplus under None.
    return [{column: cell for column, cell in row.items() if column is not None} for row in found]


def _scores(photos: list[Path], sha256: str) -> tuple[dict[int, float], str]:
    """Scores of the photos that can be scored, by their places, and a digest of those photos, whatever their order."""
    from worker.core.settings import WorkerSettings
    from worker.inference.scorer import Scorer

    settings = WorkerSettings.load()
    scorer = Scorer.open(settings.models_dir / f"{sha256}.safetensors", settings.device, sha256, settings.engine)
    found, digests = {}, []
    with click.progressbar(photos, label="scored", file=sys.stderr) as bar:
        for number, score, digest in _each(scorer, bar):
            found[number] = score
            digests.append(digest)
    return found, hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _each(scorer: Any, photos: Any) -> Iterator[tuple[int, float, str]]:
    from trainer.errors import Rejected
    from trainer.pixels.preprocess import decode

    for number, photo in enumerate(photos):
        try:
            data = photo.read_bytes()
            yield number, scorer.score([decode(data).pixels])[0], hashlib.sha256(data).hexdigest()
        except (Rejected, OSError, ValueError) as error:  # ValueError: a NUL in the path
            click.echo(f"{photo}: {error}".replace("\0", "\\0")[:_SHOWN], err=True)


def _row(row: ReferenceSet, model: str) -> dict[str, Any]:
    return {
        "name": row.name,
        "model": model,
        "reals": row.reals,
        "cohorts": row.cohorts is not None,
        "source": row.source,
        "author": row.author,
        "built_at": row.created_at,
    }
