"""``unmask sweep``: what a leading worker does each second, once and by hand."""

import click

from db.cli import open_database


@click.command()
def sweep() -> None:
    """Send images that nobody has sent, once."""
    from worker.celery import app
    from worker.client import send, send_requests
    from worker.core.settings import WorkerSettings
    from worker.background.sweeper import Senders, waiting
    from worker.background.sweeper import sweep as sweep_once

    settings = WorkerSettings.load()
    room = settings.queue_limit - waiting(app)
    sent = sweep_once(open_database(), Senders(send, send_requests), settings, room)
    click.echo(f"{sent} images sent", err=True)
