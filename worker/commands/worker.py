"""``unmask worker``: checks the settings, then does what ``celery -A worker worker`` does."""

import logging
import os

import click

log = logging.getLogger(__name__)


@click.command()
@click.option("--concurrency", type=click.IntRange(1), help="Messages processed at once (UNMASK_CONCURRENCY).")
@click.option(
    "--loglevel",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="The lowest level to log (UNMASK_LOG_LEVEL).",
)
def worker(*, concurrency: int | None, loglevel: str | None) -> None:
    """Run a worker: take images from the queue, score them in batches, record scores and flags.

    At SIGTERM it finishes its images and stops. To run a second worker on the same machine, just start it.
    """
    from celery.bin.celery import celery

    from worker.broker.library_check import check_libraries
    from worker.core.settings import WorkerSettings
    from worker.core.unknown_settings import describe_unknown
    from worker.telemetry import logs

    check_libraries("celery")
    settings = WorkerSettings.load()
    logs.configure(settings)  # Celery warns before it sets up its log
    for sentence in describe_unknown(os.environ):
        log.warning(sentence)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]  # our workers coordinate in SQL
    threads = str(concurrency or settings.concurrency)
    level = ["--loglevel", loglevel] if loglevel else []
    # Not app.worker_main(), which drops the exit status of a worker that an error ended. --quiet omits Celery's banner,
    # which would appear between lines of JSON.
    celery.main(["--app", "worker", "--quiet", "worker", *quiet, *level, "--concurrency", threads])
