"""A week of a big record: uploads, scores, decisions and retention, day after day, beside millions of rows.

    python -m tests.benchmarks.week                        # ten million images; 8 GB of disk, half an hour
    python -m tests.benchmarks.week --images 100000        # to try it

A PostgreSQL of its own, as it comes, holds fifty days of uploads: whose they are is erased after thirty days, and what
nobody flagged is deleted after fifty. Each simulated day brings a fiftieth of that anew, through the statements that
upload flows, workers, reviewers and ``unmask retention run`` use, and lets as many go. Prints a table: milliseconds a
row, and what the tables take, live and dead.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
from sqlalchemy import Integer, Row, bindparam, select, text

from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.privacy import retention
from db.privacy.retention import RetentionSettings
from db.review import reviews
from db.review.reviews import Decision
from db.schema import Case
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from tests.benchmarks.growth import registered, server

DAYS, KEPT_DAYS, KNOWN_DAYS = 7, 50, 30
#: Of what a simulated day brings, one image in so many is flagged.
FLAGGED = 200
_ADDED, _BATCH = 500, 16

HEAD = "| day | add | lease | record | decide | erase | delete | GB | dead rows | autovacuums |\n"

FILL = (
    """
    INSERT INTO unmask.images
        (id, account_id, url, state, attempts, created_at, changed_at, sha256, bytes, width, height)
    SELECT 'old-' || n, CASE WHEN known THEN 'account-' || n / 2 END, CASE WHEN known THEN 'photos/' || n || '.jpg' END,
        'scored', 1, at, at, repeat('f', 64), 200000, 1600, 1200
    FROM (
        SELECT n, at, at > now() - :known * interval '1 day' AS known
        FROM generate_series(1, :images) AS n, LATERAL (SELECT now() - (1 - n / CAST(:images AS float)) * :kept
            * interval '1 day' AS at) AS times
    ) AS uploads
    """,
    """
    INSERT INTO unmask.scores (image_id, version_id, score, engine, device, created_at)
    SELECT id, :version, power(random(), 3), 'eager-fp32', 'cuda:0', created_at FROM unmask.images
    """,
)
_SIZES = text(
    """
    SELECT sum(pg_total_relation_size(relid)), sum(n_dead_tup), sum(autovacuum_count)
    FROM pg_stat_user_tables WHERE relname IN ('images', 'scores')
    """
)


@click.command()
@click.option("--images", "count", default=10_000_000, show_default=True)
def main(*, count: int) -> None:
    """Fill, then live through a week."""
    with server() as database:
        made_by = registered(database)
        with database.writing() as session:
            thresholds.set_value(session, made_by.version_id, "default", 0.5, "bench", "")
        _fill(database, made_by, count)
        click.echo(HEAD + "|---" * HEAD.count(" |") + "|")
        click.echo(f"| 0 | | | | | | | {_sizes(database)}")
        for day in range(1, DAYS + 1):
            times = _day(database, made_by, day, count // KEPT_DAYS)
            click.echo(f"| {day} | " + " | ".join(f"{each:.3f}" for each in times) + f" | {_sizes(database)}")
        took_s = _timed(lambda: _vacuum(database, ""))
        click.echo(f"VACUUM ANALYZE took {took_s:.1f} s: {_sizes(database)}")
        _vacuum(database, "FULL")
        click.echo(f"Without any free space: {_sizes(database)}")


def _fill(database: Database, made_by: Provenance, count: int) -> None:
    values = {"version": made_by.version_id, "known": KNOWN_DAYS, "kept": KEPT_DAYS}
    for statement in FILL:
        bound = text(statement)
        if ":images" in statement:
            bound = bound.bindparams(bindparam("images", count, Integer))
        given = {name: value for name, value in values.items() if f":{name}" in statement}
        with database.writing() as session:
            session.execute(bound, given)
    _vacuum(database, "")


def _day(database: Database, made_by: Provenance, day: int, count: int) -> Iterator[float]:
    """Milliseconds a row of each kind of work, in the order of the table; days pass by shorter periods."""
    ids = [f"day-{day}-{number}" for number in range(count)]
    yield 1000 * _timed(lambda: _in_batches(ids, _ADDED, lambda some: _add(database, some))) / count
    yield 1000 * _timed(lambda: _in_batches(ids, _BATCH, lambda some: _lease(database, some))) / count
    yield 1000 * _timed(lambda: _in_batches(ids, _BATCH, lambda some: _record(database, some, made_by))) / count
    open_cases = _open(database)
    yield 1000 * _timed(lambda: _decide(database, open_cases)) / max(1, len(open_cases))
    for periods in ({"keep_accounts_days": KNOWN_DAYS - day}, {"keep_scores_days": KEPT_DAYS - day}):
        start = time.perf_counter()
        done = sum(
            retention.apply_retention(
                database, RetentionSettings(database_url="sqlite:///unmask.db", **periods)
            ).values()
        )
        yield 1000 * (time.perf_counter() - start) / max(1, done)


def _in_batches(ids: Sequence[str], size: int, work: Callable[[Sequence[str]], None]) -> None:
    for start in range(0, len(ids), size):
        work(ids[start : start + size])


def _add(database: Database, ids: Sequence[str]) -> None:
    new = [NewImage(image_id, f"account-{image_id}", "photos/new.jpg") for image_id in ids]
    with database.writing() as session:
        images.add_images(session, new, 3600.0)


def _lease(database: Database, ids: Sequence[str]) -> None:
    with database.writing() as session:
        images.lease(session, ids, "bench", 300.0, 3600.0)


def _record(database: Database, ids: Sequence[str], made_by: Provenance) -> None:
    def scored(image_id: str) -> Scored:
        flagged = int(image_id.rsplit("-", 1)[1]) % FLAGGED == 0
        return Scored(image_id, "default", 0.9 if flagged else 0.1, "f" * 64, 200_000, 1600, 1200)

    with database.writing() as session:
        scores.record(session, [scored(image_id) for image_id in ids], made_by)


def _open(database: Database) -> Sequence[Row[int, int]]:
    with database.reading() as session:
        return session.execute(select(Case.id, Case.version).where(Case.state == "open")).all()


def _decide(database: Database, found: Sequence[Row[int, int]]) -> None:
    for case_id, case_version in found:
        with database.writing() as session:
            reviews.decide_case(session, Decision(case_id, case_version, "bench", "confirmed"))


def _sizes(database: Database) -> str:
    with database.reading() as session:
        size, dead, vacuums = session.execute(_SIZES).one()
    return f"{float(size) / 1e9:.2f} | {dead:,} | {vacuums} |"


def _vacuum(database: Database, how: str) -> None:
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in ("images", "scores"):
            connection.execute(text(f"VACUUM ({how + ', ' if how else ''}ANALYZE) {table}"))


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
