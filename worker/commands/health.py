"""``unmask health``: whether the workers of this machine are live and ready. It needs neither Redis nor SQL."""

from dataclasses import asdict

import click

from db.commands.output import emit, json_option


@click.command()
@click.option("--live", "asked", flag_value="live", help="Check only that they are live: if not, restart them.")
@click.option(
    "--loaded", "asked", flag_value="loaded", help="Check also that they have started: model loaded and tested."
)
@click.option("--ready", "asked", flag_value="ready", help="Check also that they take messages (the default).")
@json_option
def health(*, asked: str | None, as_json: bool) -> None:
    """Show the health of this machine's workers; exits with 1 unless there are some and all are well."""
    from worker.core.settings import HealthSettings
    from worker.telemetry.health import statuses

    settings = HealthSettings.load()
    found = statuses(settings.run_dir, settings.live_s)
    emit(
        [asdict(status) for status in found],
        as_json=as_json,
        empty=f"no worker runs (health files: {settings.run_dir})",
    )
    well = [getattr(status, asked or "ready") for status in found]
    if not (well and all(well)):
        raise SystemExit(1)
