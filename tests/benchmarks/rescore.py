"""How long uploads wait beside a backfill, against the same uploads without one; prints the p95 of each pair of rounds.

    python -m tests.benchmarks.rescore --load 0.25 --rate 10

Uploads come when they come (open loop, Poisson), at a share of what the worker can do. The backfill scores photos
that an older version has scored, so many a second at most.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import click
import numpy as np
from sqlalchemy import text

from db.models import versions
from db.work import rescores
from tests.benchmarks import detectors
from tests.benchmarks.bench_latency import latencies, poisson, until
from tests.benchmarks.contestants import Ours, Uploads
from tests.benchmarks.measured import in_turns, ratio, table
from tests.benchmarks.stand import Stand, stand

OLD, ROUNDS, CAPACITY_IMAGES = 20_000, 6, 128

FILL = (
    """
    INSERT INTO images (id, account_id, url, state, attempts)
    SELECT 'old-' || n, 'account-' || n, :url, 'scored', 1 FROM generate_series(1, :count) AS n
    """,
    """
    INSERT INTO scores (image_id, version_id, score, engine, device)
    SELECT 'old-' || n, :version, 0.1, 'eager-fp32', 'cpu' FROM generate_series(1, :count) AS n
    """,
)


@click.command()
@click.option("--load", default=0.25, show_default=True, help="Uploads, as a share of the worker's most.")
@click.option("--rate", default=10.0, show_default=True, help="Of the backfill, images a second.")
def main(*, load: float, rate: float) -> None:
    """Measure."""
    with stand(detectors.FULL) as place, place.worker() as worker:
        uploads = Uploads(place)
        _fill(place)
        uploads_per_s = load * Ours(worker, uploads).cost(CAPACITY_IMAGES).rate
        pairs = in_turns(
            lambda: _beside(place, uploads, uploads_per_s, rate), lambda: _p95_s(place, uploads, uploads_per_s), ROUNDS
        )
    for beside, alone in pairs:
        click.echo(f"p95 {1000 * beside:.0f} ms beside the backfill, {1000 * alone:.0f} ms without")
    click.echo(table([ratio("p95 of uploads beside a backfill, of the same without", pairs, "≤ 1.1")]))


def _fill(place: Stand) -> None:
    url = next(place.photos.iterdir()).name
    with place.database.writing() as session:
        older = versions.register(session, "older", "2" * 64, "unmask-1", {}).id
        for statement in FILL:
            session.execute(text(statement), {"url": url, "version": older, "count": OLD})


def _beside(place: Stand, uploads: Uploads, uploads_per_s: float, rate: float) -> float:
    with _rescoring(place, rate):
        return _p95_s(place, uploads, uploads_per_s)


def _p95_s(place: Stand, uploads: Uploads, uploads_per_s: float) -> float:
    ids = poisson(uploads, uploads_per_s)
    until(lambda: not uploads.pending(ids))
    return float(np.percentile(latencies(place, list(ids)), 95))


@contextmanager
def _rescoring(place: Stand, rate: float) -> Iterator[None]:
    with place.database.writing() as session:
        begun = rescores.start(session, versions.active(session), "bench", rate).id
    yield
    with place.database.writing() as session:
        click.echo(f"{rescores.stop(session, begun).scored} photos rescored meanwhile")


if __name__ == "__main__":
    main()
