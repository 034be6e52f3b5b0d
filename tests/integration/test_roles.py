"""Least privilege on real PostgreSQL: each role does its work as it does it in production, and nothing else."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from starlette.testclient import TestClient

from db.access import people
from db.models import versions
from db.policy import pauses, policies, scores, thresholds
from db.quality import samples
from db.review import cases, queue, reviews
from db.work import census, images, outbox
from db.policy.changes import Budget
from db.console.app import build
from db.console.settings import ConsoleSettings
from db.errors import DatabaseError
from db.work.images import Failure, NewImage
from db.work.outbox import Patience
from db.review.review_settings import ReviewSettings
from db.review.reviews import Decision
from db.policy.scores import Provenance, Scored
from db.store.session import Database
from db.policy.signature import Signature
from db.policy.thresholds import Choice
from worker.cli import root

REALS = {"name": "card reals", "scores": [number / 1000 for number in range(1000)]}
QUALITY = {"target_fpr": 0.005, "threshold": 0.9945, "engines": {"sg2": {"tpr": 0.9, "fakes": 100}}}
SWITCHES = ("promote n --reason r --force", "rollback --reason r", "shadow n --off")

ROLES = Path(__file__).parents[2] / "deploy" / "sql" / "roles.sql"


@pytest.fixture
def owner(postgres_url: str) -> Iterator[Database]:
    """A database with our schema and roles, a registered model and a threshold."""
    database = Database(postgres_url)
    database.upgrade()
    for _ in range(2):  # it is safe to repeat
        with database.engine.begin() as connection:
            # As psql does: many statements, and no placeholders.
            connection.connection.cursor().execute(ROLES.read_text())
    with database.writing() as session:
        version = versions.register(session, "m", "1" * 64, "unmask-1", {})
        thresholds.set_value(session, version.id, "default", 0.5, "pat", "")
    yield database
    database.close()


@pytest.fixture
def become(owner: Database) -> Iterator[Callable[[str], Database]]:
    """``become("worker")``: the same database, with that role's privileges and no others."""
    opened = []

    def connect(role: str) -> Database:
        url = owner.url.update_query_dict({"options": f"-c role=unmask_{role}"})
        database = Database(url.render_as_string(hide_password=False))
        opened.append(database)
        return database

    yield connect
    for database in opened:
        database.close()


def denied(database: Database, statement: str) -> None:
    with pytest.raises(DatabaseError, match="permission denied"), database.writing() as session:
        session.execute(text(statement))


def score(database: Database, *ids: str) -> None:
    """What an upload flow and a worker do with images, up to a flag and a case."""
    with database.writing() as session:
        images.add(session, [NewImage(image_id, "ada", "a.jpg") for image_id in ids], -60)
        outbox.take_due(session, 10, Patience(0, 0))
        images.lease(session, ids, "worker", 300)
        found = [Scored(i, "default", 0.9, "f" * 64, 1000, 640, 480, looks=bytes(64)) for i in ids]
        scores.record(session, found, Provenance(1, "eager-fp32", "cpu"))


def test_an_upload_flow_puts_images_in_line_and_sees_no_score(become: Callable[[str], Database]) -> None:
    uploader = become("uploader")
    uploader.check_schema()
    with uploader.writing() as session:
        assert images.add(session, [NewImage("a", "ada", "a.jpg")], 60) == ["a"]
        assert images.add(session, [NewImage("a", "ada", "a.jpg")], 60) == []
        session.execute(text("INSERT INTO images (id, account_id, url, policy) VALUES ('b', 'c', 'd', 'default')"))
    for statement in (
        "SELECT score FROM scores",
        "SELECT state FROM images",
        "UPDATE images SET url = 'http://evil.example'",
        "INSERT INTO images (id, account_id, url, state) VALUES ('x', 'c', 'd', 'scored')",
        "DELETE FROM images",
    ):
        denied(uploader, statement)


def test_a_worker_scores_and_changes_nothing_that_people_decided(become: Callable[[str], Database]) -> None:
    worker = become("worker")
    worker.check_schema()
    score(worker, "a")
    score(worker, "b")  # the same account: its open case gets a second flag
    with worker.writing() as session:
        images.put_back(session, [Failure("a", "x", "y")], "worker")
        outbox.park_lost(session, 5, 0)
        versions.active(session)
        census.take(session)
    for statement in (
        "SELECT note FROM reviews",
        "UPDATE thresholds SET value = 0",
        "INSERT INTO thresholds (policy, version_id, value, author, reason) VALUES ('default', 1, 0, 'x', '')",
        "DELETE FROM thresholds",
        "INSERT INTO reviews (case_id, reviewer, decision, blind) VALUES (1, 'x', 'dismissed', true)",
        "UPDATE reviews SET decision = 'dismissed'",
        "UPDATE cases SET state = 'dismissed'",
        "UPDATE scores SET score = 0",
        "DELETE FROM scores",
        "TRUNCATE scores CASCADE",
        "UPDATE model_versions SET state = 'retired'",
        "INSERT INTO retention_pass VALUES ('mine')",
        "CREATE TABLE mine (id int)",
        "DROP TRIGGER scores_append_only ON scores",
    ):
        with pytest.raises(DatabaseError, match=r"permission denied|must be owner"), worker.writing() as session:
            session.execute(text(statement))


def test_a_reviewer_decides_and_writes_no_score(owner: Database, become: Callable[[str], Database]) -> None:
    score(owner, "a")
    reviewer = become("reviewer")
    with reviewer.writing() as session:
        case_id = queue.next_case(session, "pat", lease_s=600)
        case, _ = cases.show_case(session, case_id or 0)
        reviews.decide(session, Decision(case.id, case.version, "pat", "confirmed"))
        reviews.undo(session, case.id, case.version, "pat")
        reviews.decide(session, Decision(case.id, case.version, "pat", "confirmed"))
        reviews.appeal(session, case.id, case.version, "lee", "look again")
        assert queue.backlog(session).open == 1
        assert cases.search(session, "ad", 10)[0].highest == 0.9
        assert samples.next_sample(session, "pat", 600) is None
        session.execute(text("INSERT INTO requests (kind, image_id, author) VALUES ('heatmap', 'a', 'pat')"))
    for statement in (
        "INSERT INTO scores (image_id, version_id, score, engine, device) VALUES ('a', 1, 0, 'x', 'y')",
        "UPDATE scores SET score = 0",
        "INSERT INTO thresholds (policy, version_id, value, author, reason) VALUES ('default', 1, 0, 'x', '')",
        "UPDATE reviews SET decision = 'dismissed'",
        "DELETE FROM reviews",
        "UPDATE cases SET account_id = 'bob'",
        "UPDATE cases SET highest = 0",
        "UPDATE appeals SET reason = 'none'",
        "INSERT INTO samples (draw_id, image_id, score_id, probability) VALUES (1, 'a', 1, 1)",
        "UPDATE images SET url = 'x'",
        "UPDATE previews SET picture = NULL",
        "INSERT INTO retention_pass VALUES ('mine')",
    ):
        denied(reviewer, statement)


def test_the_console_does_all_that_it_does_as_a_reviewer(owner: Database, become: Callable[[str], Database]) -> None:
    score(owner, "a")
    reviewer = become("reviewer")
    with reviewer.writing() as session:
        people.add(session, "lee", "lead", "correct horse battery")
    app = build(reviewer, ConsoleSettings(), ReviewSettings(blind_share=0))
    browser = TestClient(app, base_url="http://localhost", follow_redirects=False)

    def post(path: str, **form: object) -> int:
        token = re.search(r'name="form_token" value="(\w+)"', browser.get("/look").text)
        return browser.post(path, data={"form_token": token[1] if token else ""} | form).status_code

    for word, status in (("wrong", 403), ("correct horse battery", 303)):
        assert post("/sign-in", name="lee", password=word) == status
    assert post("/next") == 303
    assert browser.get("/cases/1").status_code == 200
    assert post("/cases/1/photos/1/heatmap") == 303
    assert post("/cases/1/decide", decision="confirmed", version=1) == 303
    assert post("/cases/1/undo", version=2) == 303
    assert post("/cases/1/decide", decision="dismissed", version=3) == 303
    assert post("/cases/1/appeal", version=4, reason="look again") == 303
    assert post("/samples/next") == 303
    assert post("/people/add", name="bob", role="reviewer") == 200
    assert post("/people/disable", name="bob") == 303
    assert [browser.get(path).status_code for path in ("/", "/audit", "/people", "/samples", "/help")] == [200] * 5
    pages = ("/overview", *(f"/overview/{part}" for part in ("work", "live", "drift")), "/thresholds?value=0.95")
    assert [browser.get(path).status_code for path in pages] == [200] * 5
    change = {"value": 0.95, "reason": "fewer", "version": 1, "stands": 1}
    assert post("/thresholds", **change) == 403
    with owner.writing() as session:
        session.execute(text("CREATE ROLE unmask_both IN ROLE unmask_reviewer, unmask_policy"))
    both = build(become("both"), ConsoleSettings(), ReviewSettings(blind_share=0))
    browser = TestClient(both, base_url="http://localhost", follow_redirects=False, cookies=browser.cookies)
    assert post("/thresholds", **change) == 303
    assert post("/password", old="correct horse battery", new="another horse battery") == 303
    assert post("/sign-out") == 303
    for statement in (
        "UPDATE people SET role = 'lead'",
        "DELETE FROM people",
        "UPDATE audit_log SET who = 'bob'",
        "DELETE FROM audit_log",
        "UPDATE sign_ins SET expires_at = '2100-01-01'",
    ):
        denied(reviewer, statement)
    for role in ("worker", "policy", "readonly", "uploader"):
        denied(become(role), "SELECT password FROM people")


def test_policy_sets_thresholds_and_decides_no_case(owner: Database, become: Callable[[str], Database]) -> None:
    score(owner, "a")
    policy = become("policy")
    lee = Signature("lee", "fewer flags")
    with policy.writing() as session:
        withdrawing = policies.set_threshold(session, 1, "default", Choice(0.95), lee, Budget(1))
        assert (withdrawing.opened, withdrawing.withdrawn) == (0, 1)
        opening = policies.set_threshold(session, 1, "default", Choice(0.5), lee, Budget(1))
        assert (opening.opened, opening.withdrawn) == (1, 0)
        versions.register(session, "n", "2" * 64, "unmask-1", {})
        pauses.pause(session, "flagging", lee)
    with pytest.raises(DatabaseError, match="row-level security"), policy.writing() as session:
        session.execute(text("UPDATE cases SET state = 'dismissed'"))
    for statement in (
        "UPDATE thresholds SET value = 0",
        "INSERT INTO reviews (case_id, reviewer, decision, blind) VALUES (1, 'x', 'dismissed', true)",
        "SELECT picture FROM previews",
        "INSERT INTO scores (image_id, version_id, score, engine, device) VALUES ('a', 1, 0, 'x', 'y')",
    ):
        denied(policy, statement)


@pytest.mark.parametrize(
    "commands",
    [
        ("status --json",),
        ("failures list", "failures drop b", "failures retry b"),
        ("model list", "model show m", "model history", "model live", "model drift"),
        (
            "threshold show",
            "threshold history",
            "threshold preview --value 0.9",
            "threshold set --value 0.6 --reason r",
        ),
        ("threshold set --value 0.95 --reason r", "threshold rollback --reason r", "threshold apply --reason r"),
        ("pause scoring --reason r", "resume scoring --reason r"),
        ("cases list", "cases search ad", "cases clusters", "cases show 1"),
        ("review draw", "review draw"),
        ("webhook list", "webhook replay --dead", "webhook off"),
        ("rescore --model m", "rescore"),
        ("threshold set --fpr 0.005 --reason r", "model shadow n", *(f"model {each}" for each in SWITCHES)),
    ],
    ids=lambda commands: commands[0],
)
def test_policy_people_give_the_orders_that_the_runbook_names(
    commands: tuple[str, ...],
    owner: Database,
    become: Callable[[str], Database],
    monkeypatch: pytest.MonkeyPatch,
    broker_url: str,
) -> None:
    score(owner, "a")
    with owner.writing() as session:
        images.add(session, [NewImage("b", "bob", "b.jpg")], 60)
        images.lease(session, ["b"], "worker", 300)
        images.put_back(session, [Failure("b", "timeout", "no answer")], "worker")
        versions.register(session, "n", "2" * 64, "unmask-1", {"reference": REALS, "quality": QUALITY})
        versions.named(session, "m").card = {"reference": REALS, "quality": QUALITY}
    monkeypatch.setenv("UNMASK_DATABASE_URL", become("policy").url.render_as_string(hide_password=False))
    monkeypatch.setenv("UNMASK_BROKER_URL", broker_url)
    monkeypatch.setenv("UNMASK_ACTOR", "pat")
    for command in commands:
        result = CliRunner().invoke(root, command.split())
        assert result.exit_code == 0, (command, result.output, result.exception)


def test_a_dashboard_counts_and_learns_nobodys_name(owner: Database, become: Callable[[str], Database]) -> None:
    score(owner, "a")
    dashboard = become("readonly")
    with dashboard.reading() as session:
        assert images.counts(session)["scored"] == 1
        assert session.scalar(text("SELECT max(score) FROM scores")) == 0.9
    for statement in (
        "SELECT account_id FROM images",
        "SELECT url FROM images",
        "SELECT detail FROM images",
        "SELECT account_id FROM cases",
        "SELECT note FROM reviews",
        "SELECT reason FROM appeals",
        "SELECT picture FROM previews",
        "INSERT INTO images (id) VALUES ('x')",
    ):
        denied(dashboard, statement)
