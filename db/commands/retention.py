"""``unmask retention``: delete what is past its period."""

import click

from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.output import emit, json_option
from db.privacy import retention as periods


@click.group(cls=WholeHelpGroup)
def retention() -> None:
    """Delete what is past its retention period."""


@retention.command("run")
@click.option("--dry-run", is_flag=True, help="Only count what is past its period.")
@json_option
def retention_run(*, dry_run: bool, as_json: bool) -> None:
    """Delete what is past the UNMASK_KEEP_..._DAYS periods.

    The periods are UNMASK_KEEP_PICTURES_DAYS, _ACCOUNTS_DAYS, _SCORES_DAYS, _DELIVERIES_DAYS and _PROJECTIONS_DAYS;
    what has no period is kept for ever. The last one is 42 unless you set it. Run it by a timer: repeating and
    interrupting it is safe.
    """
    settings = periods.RetentionSettings.load()
    database = open_database()
    if dry_run:
        with database.reading() as session:
            counts = periods.preview_retention(session, settings)
    else:
        counts = periods.apply_retention(database, settings)
    rows = [{"period": name, "rows": count, "dry_run": dry_run} for name, count in counts.items()]
    emit(rows, as_json=as_json, empty="no period is set: everything is kept (UNMASK_KEEP_SCORES_DAYS, ...)")
