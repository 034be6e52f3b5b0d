"""``unmask cases``: what the record has, and whether a flag's score can be computed again."""

import sys
from pathlib import Path
from typing import Any

import click

from db.review import cases as record
from db.review.cases import FlagLine
from db.cli import open_database
from db.commands.cases import cases_clusters, cases_list, cases_search, cases_show
from db.output import emit, json_option
from db.store.session import Database
from db.models.versions import list_versions


@click.group()
def cases() -> None:
    """Flagged accounts, for people to decide."""


cases.add_command(cases_list)
cases.add_command(cases_show)
cases.add_command(cases_search)
cases.add_command(cases_clusters)


@cases.command()
@click.argument("case_id", type=int, required=False)
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Flags of N cases that chance picks.")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="Instead of fetching: the photo's file.")
@json_option
def verify(*, case_id: int | None, sample: int | None, file: Path | None, as_json: bool) -> None:
    """Compute flagged photos' scores again: match, mismatch, changed or gone.

    From the photo as it is now, and the weights and preprocessing that the flag was raised with. Exits with 1 unless
    all match.
    """
    if (case_id is None) == (sample is None):
        raise click.UsageError("needs a case's ID, or --sample N")
    database = open_database()
    rows = _replayed(database, _ids(database, case_id, sample), file)
    emit(rows, as_json=as_json, empty="no flag to verify")
    sys.exit(0 if all(row["outcome"] == "match" for row in rows) else 1)


def _ids(database: Database, case_id: int | None, sample: int | None) -> list[int]:
    if case_id is not None:
        return [case_id]
    with database.reading() as session:
        return record.sample(session, sample or 1)


def _replayed(database: Database, case_ids: list[int], file: Path | None) -> list[dict[str, Any]]:
    from worker.photos.fetch import Fetcher
    from worker.inference.replay import Replay
    from worker.core.settings import WorkerSettings

    settings = WorkerSettings.load()
    fetch = Fetcher(settings).fetch if file is None else lambda _url: file.read_bytes()
    replay = Replay(fetch, settings.models_dir, settings.device)
    with database.reading() as session:
        files = {version.id: version.sha256 for version in list_versions(session)}
        flags = [(case_id, flag) for case_id in case_ids for flag in record.show_case(session, case_id)[1]]
    return [_row(case_id, flag, replay.replay(flag, files[flag.score.version_id])) for case_id, flag in flags]


def _row(case_id: int, flag: FlagLine, replayed: Any) -> dict[str, Any]:
    return {
        "case": case_id,
        "image": flag.image.id,
        "outcome": replayed.outcome,
        "recorded": flag.score.score,
        "computed": replayed.score,
        "detail": replayed.detail,
    }
