"""The platform is told, signed as the scheme says, again when it does not listen, and not for ever."""

import json
import threading
from collections import Counter
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from click.testing import CliRunner
from sqlalchemy import select, update
from standardwebhooks import Webhook, WebhookVerificationError

from db.api.endpoints.images import verdict_document
from db.commands.webhook import webhook
from db.errors import NotFoundError, SettingsError
from db.policy.verdicts import VerdictReader
from db.schema import EVENT_KINDS, Case, Delivery
from db.schema.clock import moment
from db.store.session import Database
from db.work import deliveries, images
from db.work.images import Failure, NewImage
from tests.unit.worker.background.platform import SECRET, Platform, begun, flag
from worker.background.events import EVENTS, WHEN
from worker.background.webhooks import WebhookDispatcher, backoff_s, signed_headers
from worker.core.settings import WebhookSettings

NONE_YET = "no deliveries of case.confirmed, case.dismissed, case.opened, case.reopened, case.withdrawn\n"


@pytest.fixture
def courier(database: Database, platform: Platform) -> WebhookDispatcher:
    """One that has begun: what happens to cases from here on is told."""
    return begun(database, platform)


def fail(database: Database, image_id: str) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage(image_id, "bob", "b.jpg")], -60)
        images.lease(session, [image_id], "me", 60)
        images.record_failures(session, [Failure(image_id, "too_small", "10 pixels")], "me")


def state_of(database: Database) -> tuple[str, int, str | None]:
    with database.reading() as session:
        row = session.scalars(select(Delivery)).one()
        return row.state, row.attempts, row.reason


def make_due(database: Database) -> None:
    with database.writing() as session:
        session.execute(update(Delivery).values(next_attempt_at=moment(-1)))


def test_an_opened_case_is_told_with_a_signature_that_the_schemes_library_accepts(
    database: Database, courier: WebhookDispatcher, platform: Platform
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


def test_a_photos_events_carry_what_the_http_door_says_of_it(database: Database, platform: Platform) -> None:
    courier = begun(database, platform, UNMASK_WEBHOOK_EVENTS="image.scored, image.flagged,image.failed")
    flag(database, reals=[number / 1000 for number in range(1000)])
    fail(database, "b")
    assert courier.step() is True
    said = [Webhook(SECRET).verify(body, headers) for headers, body in platform.heard]
    by_kind = {event["type"]: event["data"] for event in said}
    assert sorted(by_kind) == ["image.failed", "image.flagged", "image.scored"]
    with database.reading() as session:
        found = VerdictReader().find_many(session, ["a", "b"])
    for kind, image_id, account_id in (("scored", "a", "ada"), ("flagged", "a", "ada"), ("failed", "b", "bob")):
        document = verdict_document(found[image_id].verdict).model_dump()
        assert by_kind[f"image.{kind}"] == document | {"account_id": account_id}
    assert (by_kind["image.flagged"]["flagged"], by_kind["image.flagged"]["one_in"]) == (True, 10.0)
    assert (by_kind["image.failed"]["state"], by_kind["image.failed"]["reason"]) == ("unusable", "too_small")


def test_a_verdict_is_that_of_the_moment_of_the_request(database: Database, platform: Platform) -> None:
    platform.answers = [500]
    courier = begun(database, platform, UNMASK_WEBHOOK_EVENTS="image.flagged")
    flag(database)
    courier.step()
    with database.writing() as session:
        session.execute(update(Case).values(state="withdrawn"))
    make_due(database)
    courier.step()
    first, second = (json.loads(body) for _, body in platform.heard)
    assert first | {"data": None} == second | {"data": None}
    assert (first["data"]["flagged"], second["data"]["flagged"]) == (True, None)


def test_several_are_under_way_at_once(database: Database, platform: Platform) -> None:
    platform.meeting = threading.Barrier(8, timeout=30)  # passes when eight requests have come
    courier = begun(database, platform, UNMASK_WEBHOOK_EVENTS="image.scored")
    flag(database, *(f"photo-{number}" for number in range(8)))
    assert courier.step() is True
    with database.reading() as session:
        assert set(session.scalars(select(Delivery.state))) == {"done"}
    assert courier.step() is False


def test_one_that_fails_holds_up_no_other(database: Database, platform: Platform) -> None:
    platform.answers = [500]
    courier = begun(database, platform, UNMASK_WEBHOOK_EVENTS="image.scored")
    flag(database, *(f"photo-{number}" for number in range(40)))
    assert [courier.step() for _ in range(3)] == [True, True, True]
    with database.reading() as session:
        rows = session.execute(select(Delivery.state, Delivery.attempts)).all()
    done = Counter(attempts for state, attempts in rows if state == "done")
    assert done[1] == 39
    assert len(rows) - done[1] == 1  # which a slow machine may have sent again by now


def test_every_kind_of_event_is_in_the_catalogue() -> None:
    literals = [kind for event in EVENTS for kind in get_args(event.model_fields["type"].annotation)]
    assert literals == list(EVENT_KINDS) == list(WHEN)


@pytest.mark.parametrize("answer", [500, 302, 400])
def test_what_is_not_taken_is_told_again_and_then_dead(
    database: Database, courier: WebhookDispatcher, platform: Platform, answer: int
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
    database: Database, courier: WebhookDispatcher, platform: Platform, location: str
) -> None:
    platform.answers, platform.location = [302], location
    flag(database)
    assert courier.step() is True
    assert state_of(database) == ("pending", 1, "HTTP 302")


def test_an_answer_that_trickles_is_not_waited_for(
    database: Database, courier: WebhookDispatcher, platform: Platform
) -> None:
    platform.trickles_s = 3.0
    quick = courier._settings.model_copy(update={"webhook_timeout_s": 0.5})  # noqa: SLF001 - the same otherwise
    flag(database)
    assert WebhookDispatcher(database, "me", quick).step() is True
    state, attempts, reason = state_of(database)
    assert (state, attempts) == ("pending", 1)
    assert reason in ("ReadTimeout", "ConnectionError")


def test_a_platform_that_is_away_is_named_without_its_url(
    database: Database, courier: WebhookDispatcher, platform: Platform
) -> None:
    platform.socket.close()
    flag(database)
    courier.step()
    assert state_of(database) == ("pending", 1, "ConnectionError")


def test_one_courier_works_at_a_time(database: Database, courier: WebhookDispatcher, platform: Platform) -> None:
    flag(database)
    other = WebhookDispatcher(database, "another", courier._settings)  # noqa: SLF001 - the same
    assert other.step() is False
    assert courier.step() is True
    assert len(platform.heard) == 1


def test_it_runs_until_it_is_stopped_and_leaves_the_work_to_the_next(
    database: Database, courier: WebhookDispatcher, platform: Platform
) -> None:
    flag(database)
    courier.start()
    while not platform.heard:
        threading.Event().wait(0.05)
    courier.stop()
    courier.join()
    assert state_of(database)[0] == "done"
    flag(database)
    assert WebhookDispatcher(database, "another", courier._settings).step() is False  # noqa: SLF001 - nothing is due, and nobody holds it


def test_without_a_url_nothing_is_begun(database: Database) -> None:
    courier = WebhookDispatcher(database, "me", WebhookSettings())
    courier.listen()
    courier.start()
    courier.stop()
    courier.join()
    with database.reading() as session:
        assert deliveries.recorded_kinds(session) == []


def test_pauses_grow_from_seconds_to_half_a_day() -> None:
    assert 4.5 <= backoff_s(1) <= 5.5
    assert 18 <= backoff_s(2) <= 22
    assert 38_880 <= backoff_s(9) <= 47_520


def test_the_signature_is_over_id_time_and_body() -> None:
    one = signed_headers(1, "{}", datetime(2026, 1, 1, tzinfo=UTC), SECRET)["webhook-signature"]
    others = [
        signed_headers(2, "{}", datetime(2026, 1, 1, tzinfo=UTC), SECRET),
        signed_headers(1, "{ }", datetime(2026, 1, 1, tzinfo=UTC), SECRET),
        signed_headers(1, "{}", datetime(2026, 1, 2, tzinfo=UTC), SECRET),
    ]
    assert one not in [headers["webhook-signature"] for headers in others]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"URL": "https://platform.example/hook"}, "UNMASK_WEBHOOK_URL: .*needs UNMASK_WEBHOOK_SECRET"),
        ({"SECRET": "whsec_c2hvcnQ="}, "UNMASK_WEBHOOK_SECRET: .*24 to 64 random bytes"),
        ({"SECRET": "no base64!"}, "UNMASK_WEBHOOK_SECRET: .*24 to 64 random bytes"),
        ({"URL": "ftp://platform.example", "SECRET": SECRET}, "UNMASK_WEBHOOK_URL"),
        (
            {"EVENTS": "case.opened,image.score"},
            f"UNMASK_WEBHOOK_EVENTS: .*image.score is not a kind of event: .*{', '.join(EVENT_KINDS)}",
        ),
        ({"EVENTS": ","}, "UNMASK_WEBHOOK_EVENTS: .*nothing is not a kind of event"),
    ],
)
def test_settings_that_cannot_be_used_are_named_and_not_shown(given: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        WebhookSettings.load({f"UNMASK_WEBHOOK_{key}": value for key, value in given.items()})
    assert given.get("SECRET", "-- none --") not in str(caught.value)


def test_the_list_tells_what_came_of_each_and_the_dead_are_told_again(
    settings_database: Database, courier: WebhookDispatcher, platform: Platform
) -> None:
    def asked() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(CliRunner().invoke(webhook, ["list", "--json"]).stdout)
        return found

    assert CliRunner().invoke(webhook, ["list"]).stdout == NONE_YET
    platform.answers = [500, 500]
    flag(settings_database)
    courier.step()
    make_due(settings_database)
    courier.step()
    (row,) = asked()
    assert (row["event"], row["state"], row["attempts"], row["reason"]) == ("case.opened", "dead", 2, "HTTP 500")
    assert CliRunner().invoke(webhook, ["replay", "--dead"]).stderr == "1 deliveries will be sent again\n"
    courier.step()
    assert asked()[0]["state"] == "done"
    assert CliRunner().invoke(webhook, ["replay", str(row["id"])]).exit_code == 0
    assert asked()[0]["state"] == "pending"
    assert CliRunner().invoke(webhook, ["replay"]).exit_code == 2
    with pytest.raises(NotFoundError, match="delivery 4711"):
        CliRunner().invoke(webhook, ["replay", "4711"], catch_exceptions=False)


def test_switched_off_by_hand_it_stays_off(settings_database: Database, courier: WebhookDispatcher) -> None:
    CliRunner().invoke(webhook, ["off"], catch_exceptions=False)
    flag(settings_database)
    assert courier.step() is False
    with settings_database.reading() as session:
        assert deliveries.recorded_kinds(session) == []
    said = CliRunner().invoke(webhook, ["list"]).stdout
    assert said == "no deliveries: webhooks are off (set UNMASK_WEBHOOK_URL and restart a worker)\n"
