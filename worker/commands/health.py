"""``unmask health``: whether the workers of this machine live, and work. Asks neither Redis nor SQL."""

from dataclasses import asdict

import click

from db.output import emit, json_option


@click.command()
@click.option("--live", "asked", flag_value="live", help="Only whether they live: if not, they should be restarted.")
@click.option("--loaded", "asked", flag_value="loaded", help="Whether they also started: model loaded and tried.")
@click.option("--ready", "asked", flag_value="ready", help="Whether they also work: broker there, messages taken.")
@json_option
def health(*, asked: str | None, as_json: bool) -> None:
    """How this machine's workers are; exit status 1 unless there are some and all are well."""
    from worker.telemetry.health import statuses
    from worker.core.settings import HealthSettings

    settings = HealthSettings.load()
    found = statuses(settings.run_dir, settings.live_s)
    emit([asdict(status) for status in found], as_json=as_json, empty=f"no worker runs ({settings.run_dir})")
    well = [getattr(status, asked or "ready") for status in found]
    if not (well and all(well)):
        raise SystemExit(1)
