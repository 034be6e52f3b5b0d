"""The platform is told, signed as the scheme says, again when it does not listen, and not for ever."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select, update
from standardwebhooks import Webhook, WebhookVerificationError

from db.models import versions
from db.policy import scores, thresholds
from db.work import deliveries, images
from db.schema.clock import moment
from db.commands.webhook import webhook
from db.errors import NotFoundError, SettingsError
from db.work.images import NewImage
from db.schema import Delivery
from db.policy.scores import Provenance, Scored
from db.store.session import Database
from worker.background.courier import Courier, pause_s, signed
from worker.core.settings import WebhookSettings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the scheme's own example


class Platform(ThreadingHTTPServer):
    """Takes what it is told, and answers with the next of ``answers``; with 200 when there is none."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.location = "/elsewhere"
        self.trickles_s = 0.0


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        platform = self.server
        assert isinstance(platform, Platform)
        platform.heard.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(platform.answers.pop(0) if platform.answers else 200)
        self.send_header("Location", platform.location)
        self.flush_headers()
        self._trickle(platform.trickles_s)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _trickle(self, seconds: float) -> None:
        """A header, a byte now and then; whoever asked may be gone."""
        with suppress(OSError):
            self.wfile.write(b"X-Slow: " if seconds else b"")
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self.wfile.write(b"x")
                time.sleep(0.1)
            self.wfile.write(b"\r\n" if seconds else b"")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def platform() -> Iterator[Platform]:
    with Platform() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def courier(database: Database, platform: Platform) -> Courier:
    """One that has begun: what happens from here on is told."""
    settings = WebhookSettings.load(
        {
            "UNMASK_WEBHOOK_URL": f"http://127.0.0.1:{platform.server_port}/hook?key=abc",
            "UNMASK_WEBHOOK_SECRET": SECRET,
            "UNMASK_WEBHOOK_MAX_ATTEMPTS": "2",
        }
    )
    courier = Courier(database, "me", settings)
    courier.listen()
    assert courier.step() is False
    return courier


def flag(database: Database) -> None:
    with database.writing() as session:
        version = versions.register(session, "m", "1" * 64, "unmask-1", {})
        thresholds.set_value(session, version.id, "default", 0.5, "pat", "")
        images.add(session, [NewImage("a", "ada", "a.jpg")], -60)
        batch = [Scored("a", "default", 0.9, "f" * 64, 1000, 640, 480)]
        scores.record(session, batch, Provenance(version.id, "eager-fp32", "cpu"))


def state_of(database: Database) -> tuple[str, int, str | None]:
    with database.reading() as session:
        row = session.scalars(select(Delivery)).one()
        return row.state, row.attempts, row.reason


def make_due(database: Database) -> None:
    with database.writing() as session:
        session.execute(update(Delivery).values(next_attempt_at=moment(-1)))


def test_an_opened_case_is_told_with_a_signature_that_the_schemes_library_accepts(
    database: Database, courier: Courier, platform: Platform
) -> None:
    flag(database)
    assert courier.step() is True
    ((headers, body),) = platform.heard
    said = Webhook(SECRET).verify(body, headers)
    with database.reading() as session:
        row = session.scalars(select(Delivery)).one()
    assert (said["type"], said["timestamp"]) == ("case.opened", row.created_at.isoformat())
    assert said["data"] == {
        "case": row.case_id, "version": 1, "account": "ada", "policy": "default", "images": ["a"],
    }  # fmt: skip
    assert headers["webhook-id"] == f"msg_{row.id}"
    assert state_of(database) == ("done", 1, None)
    assert courier.step() is False
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"ada", b"bob"), headers)


@pytest.mark.parametrize("answer", [500, 302, 400])
def test_what_is_not_taken_is_told_again_and_then_dead(
    database: Database, courier: Courier, platform: Platform, answer: int
) -> None:
    platform.answers = [answer, answer]
    flag(database)
    courier.step()
    assert state_of(database) == ("pending", 1, f"HTTP {answer}")
    assert courier.step() is False  # not yet
    make_due(database)
    courier.step()
    assert state_of(database) == ("dead", 2, f"HTTP {answer}")
    first, second = platform.heard
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert first[1] == second[1]


@pytest.mark.parametrize("location", ["https://[bad/", "/caf\xe9", "/" + "x" * 60_000])
def test_where_it_is_sent_instead_is_not_looked_at(
    database: Database, courier: Courier, platform: Platform, location: str
) -> None:
    platform.answers, platform.location = [302], location
    flag(database)
    assert courier.step() is True
    assert state_of(database) == ("pending", 1, "HTTP 302")


def test_an_answer_that_trickles_is_not_waited_for(database: Database, courier: Courier, platform: Platform) -> None:
    platform.trickles_s = 3.0
    quick = courier._settings.model_copy(update={"webhook_timeout_s": 0.5})  # noqa: SLF001 - the same otherwise
    flag(database)
    assert Courier(database, "me", quick).step() is True
    state, attempts, reason = state_of(database)
    assert (state, attempts) == ("pending", 1)
    assert reason in ("ReadTimeout", "ConnectionError")


def test_a_platform_that_is_away_is_named_without_its_url(
    database: Database, courier: Courier, platform: Platform
) -> None:
    platform.socket.close()
    flag(database)
    courier.step()
    assert state_of(database) == ("pending", 1, "ConnectionError")


def test_one_courier_works_at_a_time(database: Database, courier: Courier, platform: Platform) -> None:
    flag(database)
    other = Courier(database, "another", courier._settings)  # noqa: SLF001 - the same
    assert other.step() is False
    assert courier.step() is True
    assert len(platform.heard) == 1


def test_it_runs_until_it_is_stopped_and_leaves_the_work_to_the_next(
    database: Database, courier: Courier, platform: Platform
) -> None:
    flag(database)
    courier.start()
    while not platform.heard:
        threading.Event().wait(0.05)
    courier.stop()
    courier.join()
    assert state_of(database)[0] == "done"
    flag(database)
    assert Courier(database, "another", courier._settings).step() is False  # noqa: SLF001 - nothing is due, and nobody holds it


def test_without_a_url_nothing_is_begun(database: Database) -> None:
    courier = Courier(database, "me", WebhookSettings())
    courier.listen()
    courier.start()
    courier.stop()
    courier.join()
    with database.reading() as session:
        assert not deliveries.switched_on(session)


def test_pauses_grow_from_seconds_to_half_a_day() -> None:
    assert 4.5 <= pause_s(1) <= 5.5
    assert 18 <= pause_s(2) <= 22
    assert 38_880 <= pause_s(9) <= 47_520


def test_the_signature_is_over_id_time_and_body() -> None:
    one = signed(1, "{}", datetime(2026, 1, 1, tzinfo=UTC), SECRET)["webhook-signature"]
    others = [
        signed(2, "{}", datetime(2026, 1, 1, tzinfo=UTC), SECRET),
        signed(1, "{ }", datetime(2026, 1, 1, tzinfo=UTC), SECRET),
        signed(1, "{}", datetime(2026, 1, 2, tzinfo=UTC), SECRET),
    ]
    assert one not in [headers["webhook-signature"] for headers in others]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"URL": "https://platform.example/hook"}, "UNMASK_WEBHOOK_URL: .*needs UNMASK_WEBHOOK_SECRET"),
        ({"SECRET": "whsec_c2hvcnQ="}, "UNMASK_WEBHOOK_SECRET: .*24 to 64 random bytes"),
        ({"SECRET": "no base64!"}, "UNMASK_WEBHOOK_SECRET: .*24 to 64 random bytes"),
        ({"URL": "ftp://platform.example", "SECRET": SECRET}, "UNMASK_WEBHOOK_URL"),
    ],
)
def test_settings_that_cannot_be_used_are_named_and_not_shown(given: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        WebhookSettings.load({f"UNMASK_WEBHOOK_{key}": value for key, value in given.items()})
    assert given.get("SECRET", "-- none --") not in str(caught.value)


def test_the_list_tells_what_came_of_each_and_the_dead_are_told_again(
    settings_database: Database, courier: Courier, platform: Platform
) -> None:
    def asked() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(CliRunner().invoke(webhook, ["list", "--json"]).stdout)
        return found

    assert CliRunner().invoke(webhook, ["list"]).stdout == "the platform was told nothing\n"
    platform.answers = [500, 500]
    flag(settings_database)
    courier.step()
    make_due(settings_database)
    courier.step()
    (row,) = asked()
    assert (row["event"], row["state"], row["attempts"], row["reason"]) == ("case.opened", "dead", 2, "HTTP 500")
    assert CliRunner().invoke(webhook, ["replay", "--dead"]).stderr == "1 deliveries are told again\n"
    courier.step()
    assert asked()[0]["state"] == "done"
    assert CliRunner().invoke(webhook, ["replay", str(row["id"])]).exit_code == 0
    assert asked()[0]["state"] == "pending"
    assert CliRunner().invoke(webhook, ["replay"]).exit_code == 2
    with pytest.raises(NotFoundError, match="delivery 4711"):
        CliRunner().invoke(webhook, ["replay", "4711"], catch_exceptions=False)


def test_switched_off_by_hand_it_stays_off(settings_database: Database, courier: Courier) -> None:
    CliRunner().invoke(webhook, ["off"], catch_exceptions=False)
    flag(settings_database)
    assert courier.step() is False
    with settings_database.reading() as session:
        assert not deliveries.switched_on(session)
    said = CliRunner().invoke(webhook, ["list"]).stdout
    assert said == "the platform was told nothing: it is off, until a worker starts with UNMASK_WEBHOOK_URL\n"
