"""How long the server works on each page of the console beside very many open cases, on PostgreSQL.

    python -m tests.benchmarks.console                        # 10,000 open cases
    python -m tests.benchmarks.console --cases 1000000        # 5 GB of disk, some minutes

A fifth as many closed cases lie beside the open ones, with photos, scores, signals, decisions and audit entries. Prints
a table: for each page the milliseconds of the first request, which finds no count cached, and the median of the next
three. The photos' bytes are not there: a picture costs one row. ``--url`` uses a server that is there, and fills it
only if it has no case.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import click
from httpx2 import Response
from sqlalchemy import func, select, text
from starlette.testclient import TestClient

from db.access import audit, people, sign_ins
from db.console.app import build_app
from db.console.settings import ConsoleSettings
from db.console.web import cookies, forms
from db.models import versions
from db.policy import thresholds
from db.review.settings import ReviewSettings
from db.schema import Case, Person, Policy
from db.store.session import Database
from tests.benchmarks.growth import server

#: One case in so many is closed, beside the open ones.
CLOSED = 5
REVIEWERS = 10
REPEATED = 3
#: In megabytes: what a server of such a record would have.
_MEMORY = ("SET LOCAL maintenance_work_mem = '512MB'", "SET LOCAL work_mem = '64MB'")

FILL = (
    "UPDATE unmask.model_versions SET state = 'retired' WHERE name = 'old'",
    "UPDATE unmask.model_versions SET state = 'active' WHERE name = 'new'",
    """
    INSERT INTO unmask.cases (id, account_id, policy, state, highest, priority, chance, sharing, second, disputed,
        restricted, created_at, changed_at)
    SELECT n, 'account-' || n, CASE WHEN n % 3 = 0 THEN 'dating' ELSE 'default' END,
        CASE WHEN n <= :open THEN 'open' WHEN n % 2 = 0 THEN 'confirmed' ELSE 'dismissed' END,
        0.9 + random() / 10, -2500 + random() * 60, random(), 1 + n % 3 / 2, n <= :open AND n % 200 = 0,
        n > :open AND n % 50 = 0, CASE WHEN n <= :open AND n % 1000 = 1 THEN 'minor' END, at, at
    FROM (SELECT n, now() - random() * interval '60 days' AS at FROM generate_series(1, :all) AS n) AS opened
    """,
    """
    INSERT INTO unmask.images (id, account_id, url, policy, state, attempts, width, height, created_at, changed_at,
        sha256)
    SELECT kind || n, 'account-' || n, kind || n || '.jpg', policy, 'scored', 1, 1200, 1600, created_at, created_at,
        md5(n::text) || md5(kind)
    FROM unmask.cases, LATERAL (SELECT id AS n) AS numbered, unnest(ARRAY['f', 'g', 'o']) AS kind
    WHERE kind = 'f' OR n % 5 = 0
    """,
    """
    INSERT INTO unmask.scores (id, image_id, version_id, score, engine, device, created_at)
    SELECT 10 * substr(id, 2)::bigint + strpos('fgo', left(id, 1)), id, CASE WHEN hashtext(id) % 10 = 0 THEN 1 ELSE 2
        END, CASE WHEN id LIKE 'o%' THEN random() / 2 ELSE 0.9 + random() / 10 END, 'eager-fp32', 'cuda:0', created_at
    FROM unmask.images
    """,
    """
    INSERT INTO unmask.flags (case_id, image_id, score_id, threshold_id, kind, created_at)
    SELECT substr(image_id, 2)::bigint, image_id, scores.id, thresholds.id, 'score', scores.created_at
    FROM unmask.scores JOIN unmask.images ON images.id = image_id
        JOIN unmask.thresholds ON thresholds.version_id = scores.version_id AND thresholds.policy = images.policy
    WHERE image_id NOT LIKE 'o%'
    """,
    """
    INSERT INTO unmask.looks (image_id, hash, mirrored)
    SELECT image_id, decode(md5(image_id) || md5('a' || image_id), 'hex'), decode(md5('b' || image_id) || md5('c' ||
        image_id), 'hex') FROM unmask.flags
    """,
    r"INSERT INTO unmask.previews (image_id, kind, picture) SELECT id, 'photo', '\xff' FROM unmask.images",
    """
    INSERT INTO unmask.signals (image_id, kind, value, place, trust)
    SELECT image_id, kinds.kind, 'a value', 'EXIF Make', 'unsigned' FROM unmask.flags,
        (VALUES ('provenance.camera', 3), ('provenance.ai', 100), ('provenance.credentials', 10000)) AS kinds (kind,
        one)
    WHERE case_id % one = 0
    """,
    """
    INSERT INTO unmask.reviews (case_id, reviewer, decision, reason, blind, created_at)
    SELECT id, 'reviewer-' || 1 + id % :reviewers, CASE state WHEN 'open' THEN 'unsure' ELSE state END, 'artefacts',
        id % 20 = 0, created_at + (now() - created_at) / 2
    FROM unmask.cases WHERE state <> 'open' OR second OR id % 300 = 0 ORDER BY id
    """,
    """
    INSERT INTO unmask.reviews (case_id, reviewer, decision, blind, created_at)
    SELECT case_id, 'reviewer-' || 1 + (case_id + 1) % :reviewers, CASE decision WHEN 'confirmed' THEN 'dismissed' ELSE
        'confirmed' END, false, created_at + interval '1 minute'
    FROM unmask.reviews WHERE case_id IN (SELECT id FROM unmask.cases WHERE disputed)
    """,
    """
    INSERT INTO unmask.appeals (case_id, review_id, author, reason, created_at)
    SELECT case_id, id, 'support', 'It is me.', created_at + interval '1 hour' FROM unmask.reviews
    WHERE case_id % 300 = 0 AND case_id <= :open
    """,
    """
    INSERT INTO unmask.audit_log (who, what, case_id, image_id, created_at)
    SELECT reviewer, what, case_id, CASE what WHEN 'saw_photo' THEN 'f' || case_id END, created_at
    FROM unmask.reviews, unnest(ARRAY['viewed', 'saw_photo', 'decided']) AS what ORDER BY created_at
    """,
    """
    INSERT INTO unmask.draws (policy, version_id, threshold_id, stratum, low, high, since, until, population, drawn,
        author)
    SELECT 'default', 2, 2, stratum, 0, 1, now() - week * interval '7 days', now() - (week - 1) * interval '7 days',
        100000, 400, 'lead' FROM generate_series(1, 10) AS week,
        unnest(ARRAY['flagged', 'below', 'unflagged']) AS stratum
    """,
    """
    INSERT INTO unmask.samples (draw_id, image_id, score_id, probability, judged)
    SELECT 1 + n % 30, 'f' || n, 10 * n + 1, 0.01, n % 20 <> 0 FROM generate_series(1, least(12000, :open)) AS n
    """,
    """
    INSERT INTO unmask.verdicts (sample_id, reviewer, verdict)
    SELECT id, 'reviewer-' || 1 + (id + again) % :reviewers, CASE WHEN id % 7 = again THEN 'real' ELSE 'fake' END
    FROM unmask.samples, generate_series(0, 1) AS again WHERE judged AND (again = 0 OR id % 3 = 0)
    """,
)


PAGES = (
    "/", "/?order=age", "/?order=score", "/?state=all", "/?state=confirmed&order=age", "/?policy=dating",
    "/?appealed=yes", "/?appealed=no", "/?due=soon", "/?due=late", "/?assignee=me", "/?assignee=nobody",
    "/?state=all&decided_by=me&order=age", "/?since=2026-01-01&until=2026-01-31", "/?state=all&disagreed=yes",
    "/?signal=provenance.camera", "/?signal=provenance.ai", "/?signal=provenance.credentials",
    "/?signal=provenance.unread", "/?generator=a+value", "/?generator=nobody", "/?model=old", "/?model=new",
    "/?model=idle", "/?model=nobody", "/?signal=provenance.ai&order=age&policy=dating", "/?after=5000",
    "/?order=age&after=5000",
    "/backlog", "/?q=account-77", "/?q=f77", "/?q=4711", "/?q=nobody",
    "/cases/5", "/cases/4", "/cases/5/alike", "/cases/5/others", "/cases/300", "/samples", "/my-day", "/help",
)  # fmt: skip
LEAD_PAGES = (
    "/restricted", "/overview", "/overview/work", "/overview/live", "/overview/drift", "/thresholds", "/team",
    "/people", "/quality", "/quality/reviewers/reviewer-1", "/policies/default", "/policies/dating", "/audit",
    "/audit?what=decided", "/audit?who=reviewer-1", "/audit?who=nobody", "/audit?case=11000", "/exports",
    "/exports?since=2026-01-01",
)  # fmt: skip
FORMS: dict[str, dict[str, str]] = {
    "/next": {},
    "/batch": {"case-8": "1", "case-10": "1", "case-14": "1"},
    "/samples/next": {},
}
BAD = 400


@click.command()
@click.option("--cases", "count", default=10_000, show_default=True, help="Open cases.")
@click.option("--url", help="A PostgreSQL that is there.")
@click.option("--over", "over_ms", default=0.0, help="Print only pages that take longer, in ms.")
def main(*, count: int, url: str | None, over_ms: float) -> None:
    """Milliseconds of the server for each page."""
    with _record(url) as database:
        with database.reading() as session:
            empty = session.scalar(select(func.count(Person.id))) == 0
        if empty:
            _fill(database, count)
        click.echo("| page | first, ms | then, ms |\n|---|---|---|")
        for role in ("lead", "reviewer-1"):
            for name, first_ms, then_ms in _pages(database, role):
                if max(first_ms, then_ms) >= over_ms:
                    click.echo(f"| {role}: {name} | {first_ms:.0f} | {then_ms:.0f} |")


@contextmanager
def _record(url: str | None) -> Iterator[Database]:
    if url is None:
        with server() as database:
            yield database
        return
    database = Database(url)
    database.upgrade()
    yield database
    database.close()


def _fill(database: Database, count: int) -> None:
    with database.writing() as session:
        session.add(Policy(name="dating", created_by="lead"))
        reals = {"reference": {"name": "reals", "scores": [(number / 1006) ** 6 for number in range(1006)]}}
        for name in ("old", "new", "idle"):
            version = versions.register(session, name, name[0] * 64, "unmask-1", {"name": name} | reals)
            for policy in ("dating", "default"):
                thresholds.set_value(session, version.id, policy, 0.9, "lead", "")
        for name in ("lead", *(f"reviewer-{number + 1}" for number in range(REVIEWERS))):
            people.add_person(session, name, name.partition("-")[0])
    values = {":open": count, ":all": count + count // CLOSED, ":reviewers": REVIEWERS}
    with database.writing() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))  # the rows are as triggers make them
        for statement in (*_MEMORY, *FILL, *map(_counting_on, ("cases", "scores"))):
            for name, value in values.items():
                statement = statement.replace(name, str(value))  # noqa: PLW2901
            session.execute(text(statement))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _counting_on(table: str) -> str:
    last = f"SELECT max(id) FROM unmask.{table}"  # noqa: S608 - our own words
    return f"SELECT setval(pg_get_serial_sequence('unmask.{table}', 'id'), ({last}))"


def _pages(database: Database, name: str) -> Iterator[tuple[str, float, float]]:
    """(page, ms of the first request, median ms of the next ones) of each page that this person may open."""
    client, token = _signed_in(database, name)
    client.get("/help")
    for path in (*PAGES, *(LEAD_PAGES if name == "lead" else ())):
        yield path, *_timed(lambda path=path: client.get(path))  # type: ignore[misc]
    for path, fields in FORMS.items():
        yield f"POST {path}", *_timed(lambda path=path, fields=fields: client.post(path, data=token | fields))  # type: ignore[misc]
    yield "POST decide", *_timed(_decider(database, client, token, name))


def _signed_in(database: Database, name: str) -> tuple[TestClient, dict[str, str]]:
    settings = ConsoleSettings(database_url="sqlite:///unused.db")
    app = build_app(database, settings, ReviewSettings(), ["localhost"])
    with database.writing() as session:
        seed = sign_ins.start_sign_in(session, people.get_by_name(session, name), 3600)
    client = TestClient(app, base_url="http://localhost", follow_redirects=False)
    client.cookies.set(cookies.SIGN_IN, seed)
    return client, {"form_token": forms.form_token(seed)}


def _decider(database: Database, client: TestClient, token: dict[str, str], name: str) -> Callable[[], Response]:
    """Decides another case with each call."""
    with database.writing() as session:
        free = select(Case.id, Case.version).where(Case.state == "open", ~Case.second, Case.restricted.is_(None))
        found = session.execute(free.where(Case.held_by.is_(None)).order_by(Case.id.desc()).limit(REPEATED + 1)).all()
        for case_id, _ in found:
            audit.log(session, name, "saw_photo", case_id=case_id)
    left = iter(found)

    def decide() -> Response:
        case_id, version = next(left)
        return client.post(f"/cases/{case_id}/decide", data=token | {"version": version, "decision": "dismissed"})

    return decide


def _timed(ask: Callable[[], Response]) -> tuple[float, float]:
    taken = []
    for _ in range(REPEATED + 1):
        begun = time.perf_counter()
        answer = ask()
        taken.append(1000 * (time.perf_counter() - begun))
        if answer.status_code >= BAD:
            raise click.ClickException(f"{answer.url} answered {answer.status_code}: {answer.text[-2000:]}")
    return taken[0], median(taken[1:])


if __name__ == "__main__":
    main()
