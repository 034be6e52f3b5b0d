"""``unmask retention``: for how long things are kept."""

import click

from db.privacy import retention as periods
from db.cli import open_database
from db.output import emit, json_option


@click.group()
def retention() -> None:
    """Delete what was kept for as long as it should be."""


@retention.command()
@click.option("--dry-run", is_flag=True, help="Only say what is past its period.")
@json_option
def run(*, dry_run: bool, as_json: bool) -> None:
    """Apply UNMASK_KEEP_PICTURES_DAYS, _ACCOUNTS_DAYS and _SCORES_DAYS; what is not set is kept for ever.

    Made for a timer: safe to repeat, and to interrupt.
    """
    settings = periods.RetentionSettings.load()
    database = open_database()
    if dry_run:
        with database.reading() as session:
            counts = periods.due(session, settings)
    else:
        counts = periods.run(database, settings)
    rows = [{"period": name, "rows": count, "dry_run": dry_run} for name, count in counts.items()]
    emit(rows, as_json=as_json, empty="no period is set: everything is kept (UNMASK_KEEP_SCORES_DAYS, ...)")
