"""``unmask sweep``: what every worker does each second, once and by hand."""

import click

from db.cli import open_database


@click.command()
def sweep() -> None:
    """Send images that nobody has sent, once."""
    from worker.celery import app
    from worker.client import send
    from worker.settings import WorkerSettings
    from worker.sweeper import sweep as sweep_once
    from worker.sweeper import waiting

    settings = WorkerSettings.load()
    room = settings.queue_limit - waiting(app)
    click.echo(f"{sweep_once(open_database(), send, settings, room)} images sent", err=True)
