"""``unmask cases``: the database's cases, and whether a flag's score can be recomputed."""

import sys
from pathlib import Path
from typing import Any

import click
from sqlalchemy.orm import Session

from db.commands.cases import cases_group
from db.commands.database import open_database
from db.commands.output import emit, json_option
from db.models.versions import list_versions
from db.review import cases as record
from db.review.cases import FlaggedPhoto
from db.store.session import Database

__all__ = ["cases_group"]


@cases_group.command()
@click.argument("case_id", type=int, required=False)
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Verify the flags of N random cases.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read the photo from this file instead of fetching it.",
)
@json_option
def verify(*, case_id: int | None, sample: int | None, file: Path | None, as_json: bool) -> None:
    """Recompute the scores of flagged photos. Each outcome is match, mismatch, changed, gone or erased.

    A score is recomputed from the photo as it is now, with the weights and preprocessing that raised the flag. Exits
    with 1 unless all scores match.
    """
    if (case_id is None) == (sample is None):
        raise click.UsageError("give a case's id, or --sample N")
    database = open_database()
    rows = _recomputed(database, _ids(database, case_id, sample), file)
    emit(rows, as_json=as_json, empty="no flag to verify")
    sys.exit(0 if all(row["outcome"] == "match" for row in rows) else 1)


def _ids(database: Database, case_id: int | None, sample: int | None) -> list[int]:
    if case_id is not None:
        return [case_id]
    with database.reading() as session:
        return record.sample_cases(session, sample or 1)


def _recomputed(database: Database, case_ids: list[int], file: Path | None) -> list[dict[str, Any]]:
    from worker.core.settings import WorkerSettings
    from worker.inference.recompute import Recomputer
    from worker.photos.fetcher import Fetcher, upload_reader

    settings = WorkerSettings.load()
    fetch = Fetcher(settings, upload_reader(database)).fetch if file is None else lambda _url: file.read_bytes()
    recomputer = Recomputer(fetch, settings.models_dir, settings.device)
    with database.reading() as session:
        files = {version.id: version.sha256 for version in list_versions(session)}
        flags = [(case_id, flag) for case_id in case_ids for flag in _photos(session, case_id)]
    return [_row(case_id, flag, recomputer.recompute(flag, files[flag.score.version_id])) for case_id, flag in flags]


def _photos(session: Session, case_id: int) -> list[FlaggedPhoto]:
    return record.flagged_photos(session, record.get_case(session, case_id).id)


def _row(case_id: int, flag: FlaggedPhoto, recomputed: Any) -> dict[str, Any]:
    return {
        "case": case_id,
        "image": flag.image.id,
        "outcome": recomputed.outcome,
        "recorded": flag.score.score,
        "computed": recomputed.score,
        "detail": recomputed.detail,
    }
