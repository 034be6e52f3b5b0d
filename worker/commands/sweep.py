"""``unmask sweep``: one step of the relay, by hand."""

import click

from db.commands.database import open_database


@click.command()
def sweep() -> None:
    """Send images that are due to the workers once, as the relay does each second."""
    from worker.background import relay
    from worker.broker import sender
    from worker.core.settings import WorkerSettings

    settings = WorkerSettings.load()
    room = {lane: settings.queue_limit - messages for lane, messages in sender.queued().items()}
    database, send = open_database(), relay.Senders(sender.send, sender.send_requests)
    relay.fail_lost(database, settings)
    requests = relay.send_due_requests(database, send, settings, settings.sweep_limit)
    images = sum(relay.send_due_images(database, send, settings, room).values())
    click.echo(f"{images + requests} images and requests sent", err=True)
