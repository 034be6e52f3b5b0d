"""``unmask worker``: what ``celery -A worker worker`` does, after the settings were checked."""

import click


@click.command()
@click.option("--concurrency", type=click.IntRange(1), help="Messages in hand at once (UNMASK_CONCURRENCY).")
@click.option(
    "--loglevel", type=click.Choice(["debug", "info", "warning", "error"]), help="How much to log (UNMASK_LOG_LEVEL)."
)
def worker(*, concurrency: int | None, loglevel: str | None) -> None:
    """Run a worker: take images from the queue, score them in batches, record scores and flags.

    Stops at SIGTERM, after what it has in hand. A second worker on the same machine needs nothing but starting.
    """
    from celery.bin.celery import celery

    from worker.telemetry import logs
    from worker.core.settings import WorkerSettings

    settings = WorkerSettings.load()
    logs.configure(settings)  # Celery warns before it sets up a log
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]  # our workers meet in SQL
    threads = str(concurrency or settings.concurrency)
    level = ["--loglevel", loglevel] if loglevel else []
    # Not app.worker_main(), which forgets the exit status of a worker that ended of an error. Without Celery's banner,
    # which would stand between lines of JSON.
    celery.main(["--app", "worker", "--quiet", "worker", *quiet, *level, "--concurrency", threads])
