"""What a lease and a record cost in PostgreSQL beside 10,000 to 10,000,000 older images with scores.

    python -m tests.benchmarks.growth            # takes 6 GB of disk
    python -m tests.benchmarks.growth --most 10000

Prints a table of milliseconds an image, and PostgreSQL's plans at the largest size.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click
from sqlalchemy import Integer, bindparam, event, text

from db.models import versions
from db.policy import scores
from db.policy.scores import Provenance, Scored
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from tests.chaos.databases import Postgres

BATCH, BATCHES, WARM = 16, 60, 20

FILL = (
    """
    INSERT INTO unmask.images (id, account_id, url, state, attempts, created_at, changed_at, sha256)
    SELECT 'old-' || n, 'account-' || n / 2, 'photos/' || n || '.jpg', 'scored', 1, at, at, repeat('f', 64)
    FROM (SELECT n, now() - random() * interval '90 days' AS at FROM generate_series(:first, :last) AS n) AS uploads
    """,
    """
    INSERT INTO unmask.scores (image_id, version_id, score, engine, device)
    SELECT 'old-' || n, :version, power(random(), 3), 'eager-fp32', 'cuda:0' FROM generate_series(:first, :last) AS n
    """,
)


@click.command()
@click.option("--most", default=10_000_000, show_default=True)
def main(*, most: int) -> None:
    """Milliseconds an image for its lease and its record, in batches of 16, beside so many older images."""
    with server() as database:
        version, filled = registered(database), 0
        click.echo("| images | lease, ms | record, ms |\n|---|---|---|")
        for size in _powers(10, 10_000, most):
            _fill(database, version, filled + 1, size)
            filled = size
            lease_ms, record_ms = _costs(database, version, size)
            click.echo(f"| {size:,} | {lease_ms:.3f} | {record_ms:.3f} |")
        _plans(database, version)


@contextmanager
def server() -> Iterator[Database]:
    with TemporaryDirectory(prefix="unmask-growth-") as folder:
        server = Postgres(Path(folder) / "postgresql")
        try:
            database = Database(server.url)
            database.upgrade()
            yield database
            database.close()
        finally:
            server.close()


def registered(database: Database) -> Provenance:
    with database.writing() as session:
        return Provenance(versions.register(session, "bench", "1" * 64, "unmask-1", {}).id, "eager-fp32", "cuda:0")


def _fill(database: Database, version: Provenance, first: int, last: int) -> None:
    with database.writing() as session:
        for statement in FILL:
            given = [bindparam("first", first, Integer), bindparam("last", last, Integer)]
            session.execute(text(statement).bindparams(*given), {"version": version.version_id})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _costs(database: Database, version: Provenance, size: int) -> tuple[float, float]:
    """Wall time an image, of statements and commit: nobody else uses the server."""
    batches = [_batch(database, f"{size}-{number}") for number in range(BATCHES)]
    for ids in batches[:WARM]:  # until the server has its plans
        _lease(database, ids)
        _record(database, ids, version)
    return (
        _timed_ms(lambda ids: _lease(database, ids), batches[WARM:]),
        _timed_ms(lambda ids: _record(database, ids, version), batches[WARM:]),
    )


def _batch(database: Database, name: str) -> list[str]:
    ids = [f"new-{name}-{number}" for number in range(BATCH)]
    with database.writing() as session:
        images.add_images(
            session, [NewImage(image_id, f"account-{image_id}", "photos/new.jpg") for image_id in ids], 3600.0
        )
    return ids


def _lease(database: Database, ids: Sequence[str]) -> None:
    with database.writing() as session:
        images.lease(session, ids, "bench", 300.0, 3600.0)


def _record(database: Database, ids: Sequence[str], version: Provenance) -> None:
    with database.writing() as session:
        scores.record(session, [Scored(each, "default", 0.5, "f" * 64, 1, 2, 3) for each in ids], version)


def _timed_ms(work: Callable[[Sequence[str]], None], batches: Sequence[Sequence[str]]) -> float:
    """The median batch's, for one image."""
    found = []
    for ids in batches:
        start = time.perf_counter()
        work(ids)
        found.append(time.perf_counter() - start)
    return 1000 * median(found) / BATCH


def _plans(database: Database, version: Provenance) -> None:
    """Of every statement that a batch takes, as PostgreSQL would run it again now."""
    ids, heard = _batch(database, "plans"), list[tuple[str, Any]]()

    def hear(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        heard.append((sql, parameters))

    event.listen(database.engine, "before_cursor_execute", hear)
    _lease(database, ids)
    _record(database, ids, version)
    event.remove(database.engine, "before_cursor_execute", hear)
    with database.engine.connect() as connection:
        for sql, parameters in heard:
            click.echo(f"\n{sql.split('VALUES')[0][:300]}")
            for (line,) in connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) {sql}", parameters):
                click.echo(f"    {line}")


def _powers(base: int, first: int, most: int) -> Iterator[int]:
    while first <= most:
        yield first
        first *= base


if __name__ == "__main__":
    main()
