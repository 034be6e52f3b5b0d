"""Least privilege on real PostgreSQL: each role does its work as it does it in production, and nothing else."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from httpx2 import Cookies
from sqlalchemy import select, text
from starlette.testclient import TestClient

from db.access import api_keys, audit, identities, people
from db.access.identities import KnownIdentity
from db.api.app import build_api as build_door
from db.api.settings import ApiSettings
from db.console.app import build_app
from db.console.settings import ConsoleSettings
from db.errors import DatabaseError, DeniedError
from db.file_signals import AI, FileSignal
from db.models import references, versions
from db.models.references import ReferenceOrigin
from db.policy import case_changes, pauses, policies, scores, signal_changes, thresholds
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget
from db.policy.effective_policy import bands_in_force
from db.policy.scores import Provenance, Scored
from db.policy.threshold_choice import ThresholdChoice, choose_by_value
from db.privacy import erasure
from db.quality import samples
from db.quality.sampling import Sizes, draw_strata
from db.queue import ranking
from db.review import case_queue, cases, reviews
from db.review.restrictions import restrict_case
from db.review.reviews import Decision
from db.review.settings import ReviewSettings
from db.schema import Case
from db.store.session import Database
from db.work import images, outbox, queue_stats
from db.work.images import Failure, NewImage
from db.work.outbox import Lane, ResendBackoff
from tests.odd_rows import change_unchecked
from worker.cli import root

REALS = {"name": "card reals", "scores": [number / 1000 for number in range(1000)]}
QUALITY = {"target_fpr": 0.005, "threshold": 0.9945, "engines": {"sg2": {"tpr": 0.9, "fakes": 100}}}
SWITCHES = ("promote n --reason r --force", "rollback --reason r", "shadow n --off")

ROLES = Path(__file__).parents[2] / "deploy" / "sql" / "roles.sql"

pytestmark = pytest.mark.fast  # cheap, and roles exist on PostgreSQL alone


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


SAYS = [FileSignal(AI, "NovelAI", "PNG Software")]


@pytest.fixture
def become(owner: Database) -> Iterator[Callable[..., Database]]:
    """``become("worker")``: the same database, with that role's privileges and no others, by a login of its own."""
    opened = []

    def connect(role: str, login: str | None = None) -> Database:
        name = login or f"the_{role}"
        with owner.writing() as session:
            if session.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}) is None:
                session.execute(text(f'CREATE ROLE "{name}" LOGIN'))
            session.execute(text(f'GRANT unmask_{role} TO "{name}"'))
        database = Database(owner.url.set(username=name, password=None).render_as_string(hide_password=False))
        opened.append(database)
        return database

    yield connect
    for database in opened:
        database.close()


def denied(database: Database, statement: str) -> None:
    refusal = "permission denied|must be owner|row-level security|appended, never changed"
    with pytest.raises(DatabaseError, match=refusal), database.writing() as session:
        session.execute(text(statement))


def score(database: Database, *ids: str) -> None:
    """What an upload flow and a worker do with images, up to a flag and a case."""
    with database.writing() as session:
        images.add_images(session, [NewImage(image_id, "ada", "a.jpg") for image_id in ids], -60)
        outbox.take_due_images(session, Lane.UPLOAD, 10, ResendBackoff(0, 0))
        images.lease(session, ids, "worker", 300)
        found = [Scored(i, "default", 0.9, "f" * 64, 1000, 640, 480, looks=bytes(64), signals=SAYS) for i in ids]
        scores.record(session, found, Provenance(1, "eager-fp32", "cpu"))


def test_a_workers_login_may_fail_an_odd_row_and_send_its_neighbour(
    owner: Database, become: Callable[..., Database]
) -> None:
    with owner.writing() as session:
        images.add_images(session, [NewImage(image_id, "ada", "a.jpg") for image_id in ("a", "odd")], -1)
    change_unchecked(owner, "odd", "created_at = '-infinity'")
    with become("worker").writing() as session:
        taken = outbox.take_due_images(session, Lane.UPLOAD, 10, ResendBackoff(0, 0))
    assert (taken.ids, [odd.id for odd in taken.odd]) == (["a"], ["odd"])


def test_an_upload_flow_puts_images_in_line_and_sees_no_score(become: Callable[..., Database]) -> None:
    uploader = become("uploader")
    uploader.check_schema()
    with uploader.writing() as session:
        assert images.add_images(session, [NewImage("a", "ada", "a.jpg")], 60) == ["a"]
        assert images.add_images(session, [NewImage("a", "ada", "a.jpg")], 60) == []
        words = "INSERT INTO images (id, account_id, url, policy, lane) VALUES ('b', 'c', 'd', 'default', 'backfill')"
        session.execute(text(words))
        assert session.execute(text("SELECT state FROM images")).all() == [("pending",), ("pending",)]
        found = session.execute(text("SELECT account_id, state, score, flagged FROM results WHERE image_id = 'b'"))
        assert found.one() == ("c", "pending", None, None)
    for statement in (
        "SELECT score FROM scores",
        "SELECT sha256 FROM images",
        "SELECT reviewer FROM reviews",
        "SELECT id FROM cases",
        "SELECT data FROM uploads",
        "UPDATE images SET url = 'http://evil.example'",
        "INSERT INTO images (id, account_id, url, state) VALUES ('x', 'c', 'd', 'scored')",
        "DELETE FROM images",
    ):
        denied(uploader, statement)


def test_a_worker_scores_and_changes_nothing_that_people_decided(become: Callable[..., Database]) -> None:
    worker = become("worker")
    worker.check_schema()
    score(worker, "a")
    score(worker, "b")  # the same account: its open case gets a second flag
    with worker.writing() as session:
        assert ranking.rank_new(session, ranking.learn_chances(session, 0.01), 10) == 1
        images.record_failures(session, [Failure("a", "x", "y")], "worker")
        outbox.fail_lost_images(session, 5, 0)
        versions.active(session)
        queue_stats.read_queue_stats(session)
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
        *(f"UPDATE images SET {column} = 'x'" for column in ("id", "account_id", "url", "policy", "lane")),  # noqa: S608 - our own names
        "UPDATE images SET created_at = now()",
        "UPDATE requests SET image_id = 'b'",
        "UPDATE rescores SET version_id = 2",
        "INSERT INTO audit_log (who, what) VALUES ('ada', 'decided')",
        "SELECT name FROM people",
        "SELECT sha256 FROM api_keys",
    ):
        denied(worker, statement)


def test_a_worker_reads_the_band_of_a_policy_from_a_reference_set(
    owner: Database, become: Callable[..., Database]
) -> None:
    score(owner, "a")  # by model 1, of whose card nothing is known
    with owner.writing() as session:
        version = versions.active(session)
        references.add_reference(session, version, "ours", [0.1, 0.8], ReferenceOrigin("a test", "0" * 64, "lee"))
        choice = choose_by_value(references.reals_of(session, version, "ours"), 0.5)
        case_changes.set_threshold(session, version.id, "default", choice, ChangeAuthor("lee", "r"), Budget(9, None, 1))
        policies.set_stability(session, "default", "note")
    with become("worker").reading() as session:
        assert 0.5 in bands_in_force(session, 1)["default"]


_NO_REVIEWER_MAY = (
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
    # nobody else's name, and no way to become somebody else
    "INSERT INTO reviews (case_id, reviewer, decision, blind) VALUES (1, 'lee', 'dismissed', true)",
    "INSERT INTO appeals (case_id, review_id, author, reason) VALUES (1, 2, 'lee', 'x')",
    "INSERT INTO audit_log (who, what) VALUES ('lee', 'decided')",
    "INSERT INTO audit_log (who, what, login) VALUES ('pat', 'decided', 'lee')",
    "INSERT INTO audit_log (who, what, created_at) VALUES ('pat', 'decided', '2020-01-01')",
    "UPDATE cases SET state = 'dismissed' WHERE id = 1",  # pat confirmed it
    "UPDATE cases SET held_by = 'lee' WHERE id = 1",
    "INSERT INTO people (name, role) VALUES ('eve', 'lead')",
    "UPDATE people SET role = 'lead'",
    "UPDATE people SET password = 'x'",
    "SELECT password FROM people",
    "SELECT * FROM sign_ins",
    "INSERT INTO sign_ins (digest, person_id, expires_at) VALUES ('f', 1, '2100-01-01')",
    "INSERT INTO sign_in_links (digest, person_id, expires_at) VALUES ('f', 1, '2100-01-01')",
    "DELETE FROM sign_in_tries",
    "SELECT * FROM uploads",
)


def test_a_reviewer_decides_and_writes_no_score(owner: Database, become: Callable[..., Database]) -> None:
    score(owner, "a")
    reviewer, lee = become("reviewer", "pat"), become("reviewer", "lee")
    with reviewer.writing() as session:
        case_id = case_queue.next_case(session, "pat", lease_s=600)
        case = cases.get_case(session, case_id or 0)
        reviews.decide_case(session, Decision(case.id, case.version, "pat", "confirmed"))
        reviews.undo_decision(session, case.id, case.version, "pat")
        reviews.decide_case(session, Decision(case.id, case.version, "pat", "confirmed"))
        audit.log(session, "pat", "decided", case_id=case.id)
        version = case.version
    with lee.writing() as session:
        reviews.appeal_decision(session, case_id or 0, version, "lee", "look again")
        assert case_queue.count_backlog(session).open == 1
        assert cases.search_cases(session, "ad", 10)[0].highest == 0.9
        assert samples.next_sample(session, "pat", 600) is None
        session.execute(text("INSERT INTO requests (kind, image_id, author) VALUES ('heatmap', 'a', 'pat')"))
        assert audit.find_entries(session, audit.EntryFilter(), 10) == []  # only its own
    with owner.reading() as session:
        assert [(row.who, row.login) for row in audit.find_entries(session, audit.EntryFilter(), 10)] == [
            ("pat", "pat")
        ]
    for statement in _NO_REVIEWER_MAY:
        denied(reviewer, statement)


def test_a_reviewers_login_judges_only_the_samples_that_it_holds(
    owner: Database, become: Callable[..., Database]
) -> None:
    score(owner, "a")
    with owner.writing() as session:
        draw_strata(session, Sizes(1, 1, 1), "lee", 7)
    pat = become("reviewer", "pat")
    insert = "INSERT INTO verdicts (sample_id, reviewer, verdict) SELECT id, '{}', 'fake' FROM samples"
    denied(pat, insert.format("pat"))
    with pat.writing() as session:
        held = samples.next_sample(session, "pat", 600)
        assert held is not None
    denied(pat, insert.format("lee"))
    denied(become("reviewer", "lee"), insert.format("lee"))
    denied(pat, "UPDATE samples SET held_by = 'lee'")
    with pat.writing() as session:
        samples.record_verdict(session, held.sample_id, "pat", "unsure")


def test_a_reviewers_login_restricts_a_case_in_its_own_name_and_lifts_nothing(
    owner: Database, become: Callable[..., Database]
) -> None:
    score(owner, "a")
    with owner.writing() as session:
        for name, role in {"pat": "reviewer", "lee": "lead"}.items():
            people.add_person(session, name, role)
        case_id = session.scalars(select(Case.id)).one()
    pat, lee = become("reviewer", "pat"), become("reviewer", "lee")
    denied(pat, f"INSERT INTO restrictions (case_id, author, reason) VALUES ({case_id}, 'lee', 'minor')")  # noqa: S608
    with pat.writing() as session:
        restrict_case(session, case_id, "pat", "minor")
    for refused in (
        lambda session: restrict_case(session, case_id, "pat", None),
        lambda session: case_queue.acquire_case(session, case_id, "pat", 60),
        lambda session: reviews.decide_case(session, Decision(case_id, 1, "pat", "dismissed"), ReviewSettings()),
    ):
        with pytest.raises(DeniedError, match="shows a minor"), pat.writing() as session:
            refused(session)
    with pat.writing() as session:
        session.execute(text("UPDATE unmask.cases SET restricted = NULL"))  # finds no case to change
    with lee.writing() as session:
        assert session.get_one(Case, case_id).restricted == "minor"
        restrict_case(session, case_id, "lee", None)


_THE_CONSOLE_MAY_NOT = (
    "UPDATE people SET role = 'lead'",
    "DELETE FROM people",
    "UPDATE audit_log SET who = 'bob'",
    "UPDATE reviews SET reviewer = 'bob'",
    "DELETE FROM verdicts",
    "DELETE FROM audit_log",
    "UPDATE sign_ins SET expires_at = '2100-01-01'",
    "INSERT INTO audit_log (who, what, login) VALUES ('lee', 'decided', 'lee')",
    "UPDATE images SET url = 'x'",
    "UPDATE scores SET score = 0",
    "INSERT INTO thresholds (policy, version_id, value, author, reason) VALUES ('default', 1, 0, 'x', '')",
    "SELECT sha256 FROM api_keys",
)


class _Browser:
    """A person's browser at the console, which sends each form with its token."""

    def __init__(self, database: Database, cookies: Cookies | None = None) -> None:
        app = build_app(database, ConsoleSettings(), ReviewSettings(blind_share=0))
        self._client = TestClient(app, base_url="http://localhost", follow_redirects=False, cookies=cookies)

    @property
    def cookies(self) -> Cookies:
        return self._client.cookies

    def get(self, *paths: str) -> list[int]:
        return [self._client.get(path).status_code for path in paths]

    def post(self, path: str, **form: object) -> int:
        token = re.search(r'name="form_token" value="(\w+)"', self._client.get("/look").text)
        return self._client.post(path, data={"form_token": token[1] if token else ""} | form).status_code

    def sign_in(self, password: str) -> int:
        return self.post("/sign-in", name="lee", password=password)


@pytest.fixture
def lead(owner: Database, become: Callable[..., Database]) -> _Browser:
    """A lead, lee, whom the console's own login has signed in."""
    score(owner, "a")
    console = become("console")
    with console.writing() as session:
        people.add_person(session, "lee", "lead", "correct horse battery")
    browser = _Browser(console)
    assert browser.sign_in("wrong") == 403
    assert browser.sign_in("correct horse battery") == 303
    return browser


def test_the_consoles_login_serves_the_review_of_a_case(owner: Database, lead: _Browser) -> None:
    assert lead.post("/next") == 303
    pages = ("/cases/1", "/cases/1/alike", "/cases/1/others", "/my-day", "/team", "/restricted")
    assert lead.get(*pages) == [200] * 6
    assert lead.post("/cases/1/photos/1/heatmap") == 303
    assert lead.post("/cases/1/photos/1/seen") == 204
    assert lead.post("/cases/1/hold") == 204
    assert lead.post("/cases/1/comment", comment="see the ear") == 303
    assert lead.post("/cases/1/restrict", reason="minor") == 303
    assert lead.post("/cases/1/restrict") == 303
    assert lead.post("/cases/1/decide", decision="confirmed", version=1) == 303
    assert lead.post("/cases/1/undo", version=2) == 303
    assert lead.post("/cases/1/decide", decision="dismissed", version=3) == 303
    assert lead.post("/cases/1/appeal", version=4, why="look again") == 303
    with owner.reading() as session:
        assert session.scalar(text("SELECT priority < 0 OR priority > 600000 FROM cases WHERE id = 1"))


def test_the_consoles_login_serves_a_leads_own_pages(lead: _Browser) -> None:
    for _ in range(2):
        assert lead.post("/team/templates", name="ears", note="see the ear") == 303
        assert lead.post("/team/pictures", policy="default", pictures="grey") == 303
    assert lead.post("/team/templates", name="ears", remove="1") == 303
    assert lead.post("/samples/next") == 303
    assert lead.post("/people/add", name="bob", role="reviewer") == 200
    assert lead.post("/people/disable", name="bob") == 303
    assert lead.get("/", "/audit", "/people", "/samples", "/help") == [200] * 5
    assert lead.get("/?q=a", "/audit/export", "/exports", "/quality") == [200] * 4
    assert lead.post("/views", name="mine", query="state=all") == 303
    assert lead.post("/views/delete", view=1) == 303
    assert lead.post("/quality/share", percent=5) == 303
    pages = ("/overview", *(f"/overview/{part}" for part in ("work", "live", "drift")), "/thresholds?value=0.95")
    assert lead.get(*pages) == [200] * 5
    assert lead.post("/password", old="correct horse battery", new="another horse battery") == 303
    assert lead.post("/sign-out") == 303


def test_the_console_sets_thresholds_only_with_the_login_of_policy_too(
    lead: _Browser, become: Callable[..., Database]
) -> None:
    change = {"value": 0.95, "reason": "fewer", "version": 1, "latest_id": 1}
    assert lead.post("/thresholds", **change) == 403
    become("policy", "the_desk")
    both = _Browser(become("console", "the_desk"), cookies=lead.cookies)
    assert both.post("/thresholds", **change) == 303


def test_the_consoles_login_keeps_people_of_a_provider_and_changes_no_record(become: Callable[..., Database]) -> None:
    console = become("console")
    with console.writing() as session:
        for role in ("lead", "reviewer"):  # as two sign-ins at the OpenID provider
            who = identities.person_of(session, KnownIdentity("https://id.example.com", "u1"), "cy", role)
            assert who.role == role
    for statement in _THE_CONSOLE_MAY_NOT:
        denied(console, statement)
    for role in ("worker", "policy", "readonly", "uploader", "reviewer", "api"):
        denied(become(role), "SELECT password FROM people")


def test_policy_sets_thresholds_and_decides_no_case(owner: Database, become: Callable[..., Database]) -> None:
    score(owner, "a")
    policy = become("policy")
    lee = ChangeAuthor("lee", "fewer flags")
    with policy.writing() as session:
        withdrawing = case_changes.set_threshold(session, 1, "default", ThresholdChoice(0.95), lee, Budget(1))
        assert (withdrawing.opened, withdrawing.withdrawn) == (0, 1)
        opening = case_changes.set_threshold(session, 1, "default", ThresholdChoice(0.5), lee, Budget(1))
        assert (opening.opened, opening.withdrawn) == (1, 0)
        versions.register(session, "n", "2" * 64, "unmask-1", {})
        pauses.pause(session, "flagging", lee)
    with pytest.raises(DatabaseError, match="row-level security"), policy.writing() as session:
        session.execute(text("UPDATE cases SET state = 'dismissed'"))
    for statement in (
        "UPDATE thresholds SET value = 0",
        "INSERT INTO reviews (case_id, reviewer, decision, blind) VALUES (1, 'x', 'dismissed', true)",
        "SELECT picture FROM previews",
        "UPDATE images SET url = 'x'",
        "INSERT INTO people (name, role) VALUES ('eve', 'lead')",
        "INSERT INTO verdicts (sample_id, reviewer, verdict) VALUES (1, 'eve', 'fake')",
        "UPDATE audit_log SET who = 'eve'",
        "UPDATE api_keys SET scopes = 'submit,read,delete'",
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
        (
            "policy set default --stability note",
            "policy add p --reason r",
            "policy list",
            "key add shop --scope submit",
            "key list",
            "key revoke shop",
        ),
        ("threshold set --fpr 0.005 --reason r", "model shadow n", *(f"model {each}" for each in SWITCHES)),
    ],
    ids=lambda commands: commands[0],
)
def test_policy_people_give_the_orders_that_the_runbook_names(
    commands: tuple[str, ...],
    owner: Database,
    become: Callable[..., Database],
    monkeypatch: pytest.MonkeyPatch,
    broker_url: str,
) -> None:
    score(owner, "a")
    with owner.writing() as session:
        images.add_images(session, [NewImage("b", "bob", "b.jpg")], 60)
        images.lease(session, ["b"], "worker", 300)
        images.record_failures(session, [Failure("b", "timeout", "no answer")], "worker")
        versions.register(session, "n", "2" * 64, "unmask-1", {"reference": REALS, "quality": QUALITY})
        versions.by_name(session, "m").card = {"reference": REALS, "quality": QUALITY}
    monkeypatch.setenv("UNMASK_DATABASE_URL", become("policy").url.render_as_string(hide_password=False))
    monkeypatch.setenv("UNMASK_BROKER_URL", broker_url)
    monkeypatch.setenv("UNMASK_ACTOR", "pat")
    monkeypatch.setenv("UNMASK_MAX_FPR", "1")  # the thresholds here are low
    for command in commands:
        result = CliRunner().invoke(root, command.split())
        asked = 1 if command.startswith("status") else 0  # no worker is alive
        assert result.exit_code == asked, (command, result.output, result.exception)


def test_a_dashboard_counts_and_learns_nobodys_name(owner: Database, become: Callable[..., Database]) -> None:
    score(owner, "a")
    dashboard = become("readonly")
    with dashboard.reading() as session:
        assert images.count_images(session)["scored"] == 1
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
        "SELECT * FROM results",
        "SELECT name FROM people",
        "SELECT * FROM audit_log",
        "SELECT * FROM uploads",
        "SELECT * FROM api_keys",
    ):
        denied(dashboard, statement)


def test_the_http_door_takes_photos_and_takes_them_back(owner: Database, become: Callable[..., Database]) -> None:
    with owner.writing() as session:
        key = api_keys.add_key(session, "shop", api_keys.SCOPES, "pat")
    door = TestClient(build_door(become("api"), ApiSettings(allowed_hosts=["cdn.example.com"])))
    door.headers["authorization"] = f"Bearer {key}"
    sent = {"account_id": "ada", "url": "https://cdn.example.com/a.jpg", "image_id": "a"}
    assert door.post("/v1/images", json=sent).status_code == 202
    photo = {"photo": ("b.jpg", b"\xff\xd8\xff", "image/jpeg")}
    assert door.post("/v1/images", data={"account_id": "ada", "image_id": "b"}, files=photo).status_code == 202
    assert door.get("/v1/images/a").json()["state"] == "pending"
    assert door.put("/v1/images/a", json={"url": "https://cdn.example.com/c.jpg"}).status_code in {200, 202}
    assert door.delete("/v1/images/b").status_code == 204
    for statement in (
        "UPDATE scores SET score = 0",
        "SELECT account_id FROM cases",
        "UPDATE cases SET state = 'dismissed'",
        "UPDATE thresholds SET value = 0",
        "INSERT INTO api_keys (name, sha256, scopes, created_by) VALUES ('x', 'f', 'submit', 'x')",
        "UPDATE api_keys SET revoked_at = NULL",
        "DELETE FROM images",
        "INSERT INTO audit_log (who, what, login) VALUES ('ada', 'decided', 'x')",
        "SELECT name FROM people",
    ):
        denied(become("api"), statement)


def test_projections_are_kept_by_workers_read_by_policy_people_and_deleted_by_the_door(
    owner: Database, become: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = become("worker")
    with worker.writing() as session:
        images.add_images(session, [NewImage("a", "ada", "a.jpg")], -60)
        images.lease(session, ["a"], "worker", 300)
        found = Scored("a", "default", 0.9, "f" * 64, 1000, 640, 480, projection=bytes(64))
        scores.record(session, [found], Provenance(1, "eager-fp32", "cpu"))
    for statement in ("UPDATE projections SET kind = 'high'", "DELETE FROM projections"):
        denied(worker, statement)
    assert counted_by(become("policy"), monkeypatch) == {"model": "m", "recent": 1, "reference": 0, "clusters": []}
    for role in ("uploader", "reviewer", "console", "readonly", "api"):
        denied(become(role), "SELECT projection FROM projections")
    with become("api").writing() as session:
        erasure.erase_images(session, ["a"])
    with owner.reading() as session:
        assert session.execute(text("SELECT count(*) FROM projections")).scalar_one() == 0


def counted_by(database: Database, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `unmask model novelty` says in this login."""
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    result = CliRunner().invoke(root, ["model", "novelty", "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_what_others_have_in_the_database_stays_as_it_is(owner: Database, become: Callable[..., Database]) -> None:
    with owner.engine.begin() as connection:
        connection.execute(text("CREATE TABLE public.users (id int)"))
        rights = "SELECT nspacl::text FROM pg_namespace WHERE nspname = 'public'"
        before = connection.scalar(text(rights))
        connection.connection.cursor().execute(ROLES.read_text())
        assert connection.scalar(text(rights)) == before
        users = "SELECT tableowner FROM pg_tables WHERE tablename = 'users' AND schemaname = 'public'"
        assert connection.scalar(text(users)) == owner.url.username
    denied(become("owner"), "DROP TABLE public.users")


def test_row_policies_of_an_earlier_version_are_replaced(owner: Database) -> None:
    with owner.engine.begin() as connection:
        connection.execute(text("CREATE POLICY others ON unmask.cases TO unmask_reviewer USING (true)"))
        connection.connection.cursor().execute(ROLES.read_text())
        names = connection.scalars(text("SELECT policyname FROM pg_policies WHERE tablename = 'cases'")).all()
    (version,) = re.findall(r"version constant text := '(\w+)'", ROLES.read_text())
    assert sorted(names) == [f"{version}{name}" for name in ("all", "decide", "open", "read", "withdraw")]


def test_the_owners_login_erases_accounts_and_adds_people(owner: Database, become: Callable[..., Database]) -> None:
    score(owner, "a")
    keeper = become("owner")
    with keeper.writing() as session:
        people.add_person(session, "lee", "lead")
        audit.log(session, "lee", "command", detail="account forget")
    assert erasure.erase_account(keeper, "ada") == erasure.ErasureCounts(images=1, pictures=0, cases=1)
    with owner.reading() as session:
        assert [(row.who, row.login) for row in audit.find_entries(session, audit.EntryFilter(), 10)] == [
            ("lee", "the_owner")
        ]


def test_a_command_in_a_reviewers_login_has_that_reviewers_name(
    owner: Database, become: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    score(owner, "a")
    monkeypatch.setenv("UNMASK_DATABASE_URL", become("reviewer", "pat").url.render_as_string(hide_password=False))
    monkeypatch.setenv("UNMASK_BLIND_SHARE", "0")
    for name, status in (("lee", 1), ("pat", 0)):
        monkeypatch.setenv("UNMASK_ACTOR", name)
        result = CliRunner().invoke(root, ["review", "next"])
        assert (result.exit_code == 0) == (status == 0), result.output
    monkeypatch.setenv("UNMASK_ACTOR", "lee")
    with pytest.raises(DeniedError, match="UNMASK_ACTOR is lee, but this database login is pat's"):
        CliRunner().invoke(root, ["review", "next"], catch_exceptions=False, standalone_mode=False)


def test_signals_are_added_by_workers_read_by_those_who_decide_and_changed_by_nobody(
    become: Callable[..., Database],
) -> None:
    score(become("worker"), "a")
    for role in ("worker", "api", "reviewer", "console", "policy"):
        with become(role).reading() as session:
            assert session.execute(text("SELECT value FROM signals")).scalar_one() == "NovelAI"
        denied(become(role), "UPDATE signals SET value = 'x'")
        denied(become(role), "DELETE FROM signals")
    for role in ("api", "reviewer", "console", "policy", "readonly", "uploader"):
        denied(become(role), "INSERT INTO signals (image_id, kind, value, place) VALUES ('a', 'k', 'v', 'p')")
    for role in ("readonly", "uploader"):
        denied(become(role), "SELECT value FROM signals")
    with become("policy").writing() as session:
        assert signal_changes.set_actions(session, "default", {AI: "flag"}, Budget(1)) == 0  # its case is open already
    with become("api").writing() as session:
        erasure.erase_images(session, ["a"])
        assert session.execute(text("SELECT value FROM signals")).all() == []
