"""What becomes of cases and images is written down to be told, in the same transaction, where somebody listens."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from db.errors import DatabaseError, NotFoundError
from db.models import versions
from db.policy import case_changes, scores
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget
from db.policy.scores import Provenance, Scored
from db.policy.threshold_choice import ThresholdChoice
from db.privacy import erasure
from db.review import reviews
from db.review.cases import NewFlag, raise_flags
from db.schema import EVENT_KINDS, Case, Delivery, Flag, Image, Review, Score, WebhookSwitch
from db.schema.clock import moment
from db.store.session import Database
from db.work import corrections, deliveries, failures, images
from db.work.deliveries import ChangedCase, LeasedDelivery
from db.work.images import Failure, NewImage

OpenCase = Callable[..., int]
Decide = Callable[..., Review]
AddImages = Callable[..., list[str]]
Record = Callable[..., list[str]]
BY = ChangeAuthor("pat", "x")
pytestmark = pytest.mark.both  # databases can differ here


@pytest.fixture
def listening(database: Database) -> Database:
    """Told of every kind of event."""
    choose(database, *EVENT_KINDS)
    return database


@pytest.fixture
def case_listening(database: Database) -> Database:
    """Told of cases alone, as by default."""
    choose(database, *(kind for kind in EVENT_KINDS if kind.startswith("case.")))
    return database


def told(database: Database) -> list[tuple[int | str | None, str, str]]:
    with database.reading() as session:
        rows = session.scalars(select(Delivery).order_by(Delivery.id))
        return [(row.case_id or row.image_id, row.kind, row.state) for row in rows]


def kinds(database: Database) -> list[str]:
    return [kind for _, kind, _ in told(database)]


def choose(database: Database, *chosen: str) -> None:
    with database.writing() as session:
        deliveries.switch_on(session, chosen)


def take(database: Database, hold_s: float = 60) -> LeasedDelivery | None:
    """The next one, if any is due."""
    with database.writing() as session:
        found = deliveries.lease_deliveries(session, hold_s, 1)
    return found[0] if found else None


def test_where_nobody_listens_nothing_is_written(database: Database, open_case: OpenCase, decide: Decide) -> None:
    decide(open_case(), "ada")
    assert told(database) == []


def test_a_case_is_told_of_when_it_opens_and_at_each_turn(
    case_listening: Database, open_case: OpenCase, decide: Decide
) -> None:
    case_id = open_case()
    open_case(photo=2)  # the same case: no news
    decide(case_id, "ada", "unsure")
    decide(case_id, "bob", "confirmed")
    with case_listening.writing() as session:
        reviews.appeal_decision(session, case_id, session.get_one(Case, case_id).version, "lee", "look again")
    decide(case_id, "cy", "dismissed")
    assert kinds(case_listening) == ["case.opened", "case.confirmed", "case.reopened", "case.dismissed"]
    with case_listening.reading() as session:
        versions = [version or 0 for version in session.scalars(select(Delivery.version).order_by(Delivery.id))]
    assert versions == sorted(set(versions))


def test_a_threshold_opens_and_withdraws_and_both_are_told(
    case_listening: Database, add_images: Callable[..., Any], record: Callable[..., Any], version_id: int
) -> None:
    add_images("a")
    record({"a": 0.7})
    for value in (0.5, 0.9):
        with case_listening.writing() as session:
            case_changes.set_threshold(session, version_id, "default", ThresholdChoice(value), BY, Budget(10))
    assert kinds(case_listening) == ["case.opened", "case.withdrawn"]


def test_what_is_rolled_back_is_not_told(case_listening: Database, open_case: OpenCase) -> None:
    case_id = open_case()
    with case_listening.writing() as session:
        session.get_one(Case, case_id).state = "confirmed"
        session.flush()
        session.rollback()
    assert kinds(case_listening) == ["case.opened"]


def test_a_message_says_what_happened_and_is_in_hand(case_listening: Database, open_case: OpenCase) -> None:
    case_id = open_case()
    message = take(case_listening)
    assert message is not None
    assert (message.kind, message.attempts, message.image_id) == ("case.opened", 1, None)
    assert message.case == ChangedCase(case_id, 1, "account", "default", ["account-1"])
    assert take(case_listening) is None
    with case_listening.writing() as session:
        session.execute(update(Delivery).values(next_attempt_at=moment(-1)))
    again = take(case_listening)
    assert again is not None
    assert (again.id, again.attempts) == (message.id, 2)


def test_two_who_take_at_once_take_one_each(
    case_listening: Database, open_case: OpenCase, at_once: Callable[[Sequence[Callable[[], Any]]], list[Any]]
) -> None:
    for account in ("a", "b"):
        open_case(account)
    found = at_once([lambda: take(case_listening), lambda: take(case_listening)])
    assert len({message.id for message in found}) == 2


def test_failures_wait_or_are_dead_and_are_told_again_when_asked(case_listening: Database, open_case: OpenCase) -> None:
    case_id = open_case()
    message = take(case_listening)
    assert message is not None
    with case_listening.writing() as session:
        deliveries.mark_failed(session, message.id, "HTTP 500", 3600)
    assert (take(case_listening), told(case_listening)) == (None, [(case_id, "case.opened", "pending")])
    with case_listening.writing() as session:
        deliveries.mark_failed(session, message.id, "HTTP 500", None)
        assert deliveries.list_dead(session) == [message.id]
        assert deliveries.count_undelivered(session) == (0, 1)
        deliveries.redeliver(session, [message.id])
    again = take(case_listening)
    assert again is not None
    assert again.attempts == 1
    with case_listening.writing() as session:
        deliveries.mark_delivered(session, message.id)
    assert told(case_listening) == [(case_id, "case.opened", "done")]


def test_an_account_that_was_erased_is_not_told_of_any_more(case_listening: Database, open_case: OpenCase) -> None:
    open_case()
    erasure.erase_account(case_listening, "account")
    assert take(case_listening) is None
    assert [state for _, _, state in told(case_listening)] == ["erased"]
    with case_listening.reading() as session:
        (erased,) = session.scalars(select(Delivery.id)).all()
    with (
        pytest.raises(NotFoundError, match=f"delivery {erased} .* its account was erased"),
        case_listening.writing() as session,
    ):
        deliveries.redeliver(session, [erased])


def test_switched_off_nothing_more_is_written(case_listening: Database, open_case: OpenCase) -> None:
    with case_listening.writing() as session:
        assert len(deliveries.recorded_kinds(session)) == 5
        deliveries.switch_off(session)
    open_case()
    assert told(case_listening) == []


def fail(database: Database, image_id: str, *, retry_s: float | None = None, reason: str = "timeout") -> None:
    with database.writing() as session:
        images.lease(session, [image_id], "me", 60)
        found = Failure(image_id, reason, "why", retry_s)
        images.record_failures(session, [found], "me")


def test_a_photo_is_told_of_when_it_is_scored_and_when_it_is_flagged(
    listening: Database, add_images: AddImages, record: Record, set_threshold: Callable[..., int]
) -> None:
    set_threshold(0.5)
    add_images("a", "b")
    record({"a": 0.4, "b": 0.9})
    record({"a": 0.4, "b": 0.9})  # a message that came twice
    assert sorted(kinds(listening)) == ["case.opened", "image.flagged", "image.scored", "image.scored"]
    assert {("a", "image.scored", "pending"), ("b", "image.scored", "pending")} < set(told(listening))
    assert ("b", "image.flagged", "pending") in told(listening)


def test_a_photo_that_gets_no_score_is_told_of_whoever_is_to_blame_and_again_after_another_try(
    listening: Database, add_images: AddImages, record: Record
) -> None:
    add_images("a", "b")
    fail(listening, "a", retry_s=0)
    assert told(listening) == []
    fail(listening, "a")
    fail(listening, "b", reason="too_small")
    assert told(listening) == [("a", "image.failed", "pending"), ("b", "image.failed", "pending")]
    with listening.writing() as session:
        failures.requeue(session, ["b"])
        assert corrections.change_url(session, "a", "better.jpg")
    fail(listening, "a")
    record({"b": 0.1})
    assert kinds(listening) == ["image.failed"] * 3 + ["image.scored"]


def test_only_the_chosen_kinds_are_written(
    database: Database, add_images: AddImages, record: Record, set_threshold: Callable[..., int]
) -> None:
    set_threshold(0.5)
    for number, kind in enumerate(EVENT_KINDS):
        choose(database, kind)
        add_images(f"good-{number}", f"bad-{number}", account_id=f"account-{number}")
        record({f"good-{number}": 0.9})
        fail(database, f"bad-{number}")
    assert sorted(kinds(database)) == ["case.opened", "image.failed", "image.flagged", "image.scored"]
    with database.reading() as session:
        assert deliveries.recorded_kinds(session) == [EVENT_KINDS[-1]]


def test_what_an_older_worker_switches_on_are_the_kinds_of_cases(
    database: Database, open_case: OpenCase, decide: Decide
) -> None:
    with database.writing() as session:
        session.add(WebhookSwitch(name="on"))
    decide(open_case(), "ada")
    assert kinds(database)[0] == "case.opened"
    assert all(kind.startswith("case.") for kind in kinds(database))
    choose(database, "case.opened")
    with database.reading() as session:
        assert deliveries.recorded_kinds(session) == ["case.opened"]


def test_another_models_scores_are_no_news_and_neither_are_those_of_a_rollback(
    listening: Database, add_images: AddImages, record: Record, version_id: int
) -> None:
    add_images("a")
    record({"a": 0.4})
    with listening.writing() as session:
        version = versions.register(session, "second", "2" * 64, "unmask-1", {}).id
        scores.record_backfill(session, {"a": 0.6}, Provenance(version, "eager-fp32", "cpu"))
        session.get_one(Image, "a").state = "pending"  # as a rollback does
    record({"a": 0.4})
    with listening.reading() as session:
        assert session.get_one(Image, "a").state == "scored"
    assert version != version_id
    assert kinds(listening) == ["image.scored"]


def test_a_photo_that_two_models_flag_in_one_case_is_told_once(
    listening: Database, add_images: AddImages, record: Record, set_threshold: Callable[..., int]
) -> None:
    threshold_id = set_threshold(0.5)
    add_images("a")
    record({"a": 0.9})
    with listening.writing() as session:
        version = versions.register(session, "second", "2" * 64, "unmask-1", {}).id
        scores.record_backfill(session, {"a": 0.8}, Provenance(version, "eager-fp32", "cpu"))
        score_id = session.scalars(select(Score.id).where(Score.version_id == version)).one()
        raise_flags(session, [NewFlag("a", score_id, threshold_id)])
        assert len(session.scalars(select(Flag.id)).all()) == 2
    assert kinds(listening).count("image.flagged") == 1


def test_a_threshold_that_flags_photos_of_before_tells_of_them(
    listening: Database, add_images: AddImages, record: Record, version_id: int
) -> None:
    add_images("a", "b")
    record({"a": 0.7, "b": 0.2})
    with listening.writing() as session:
        case_changes.set_threshold(session, version_id, "default", ThresholdChoice(0.5), BY, Budget(10))
    assert ("a", "image.flagged", "pending") in told(listening)
    assert kinds(listening).count("image.flagged") == 1


def test_a_score_that_is_rolled_back_is_not_told(listening: Database, add_images: AddImages, version_id: int) -> None:
    add_images("a")
    with listening.writing() as session:
        batch = [Scored("a", "default", 0.4, "f" * 64, 1000, 640, 480)]
        scores.record(session, batch, Provenance(version_id, "eager-fp32", "cpu"))
        session.rollback()
    assert told(listening) == []


def test_two_workers_with_the_same_photo_tell_of_it_once(
    listening: Database,
    add_images: AddImages,
    record: Record,
    at_once: Callable[[Sequence[Callable[[], Any]]], list[Any]],
) -> None:
    add_images("a")
    at_once([lambda: record({"a": 0.4}), lambda: record({"a": 0.4})])
    assert kinds(listening) == ["image.scored"]


def test_a_photo_that_was_taken_back_is_not_told_of(listening: Database, add_images: AddImages, record: Record) -> None:
    add_images("a", "b")
    record({"a": 0.4})
    with listening.writing() as session:
        erasure.erase_images(session, ["a", "b"])
    assert kinds(listening) == ["image.scored"]  # "b" waited: it is given up, which is not told
    assert take(listening) is None
    assert told(listening) == [("a", "image.scored", "erased")]


def test_several_are_taken_at_once_and_the_erased_among_them_left_out(
    listening: Database, add_images: AddImages, record: Record
) -> None:
    ids = [f"photo-{number}" for number in range(5)]
    add_images(*ids)
    record(dict.fromkeys(ids, 0.4))
    with listening.writing() as session:
        erasure.erase_images(session, ids[:3])
        first, rest = (deliveries.lease_deliveries(session, 60, 2) for _ in range(2))
    assert [(one.kind, one.image_id, one.case) for one in first] == [("image.scored", "photo-3", None)]
    assert [one.image_id for one in rest] == ["photo-4"]


def test_of_every_batch_it_takes_one_statement_more(
    listening: Database, add_images: AddImages, version_id: int, statements: Callable[[Session], list[Any]]
) -> None:
    """Where nobody listens none: `tests/unit/db/policy/test_scores.py` counts them."""
    ids = [f"photo-{number}" for number in range(20)]
    add_images(*ids)
    with listening.writing() as session:
        heard = statements(session)
        batch = [Scored(image_id, "default", 0.4, "f" * 64, 1000, 640, 480) for image_id in ids]
        scores.record(session, batch, Provenance(version_id, "eager-fp32", "cpu"))
    (told_by,) = [statement for statement, _ in heard if "deliveries" in statement]
    assert told_by.startswith("INSERT INTO ")
    assert len(told(listening)) == 20


@pytest.fixture
def role(postgres_url: str) -> Iterator[tuple[Database, Database]]:
    """Ours, and the same database for a login that may change images and choose kinds of events, and no more."""
    owner = Database(postgres_url)
    owner.upgrade()
    name = f"worker_{os.urandom(6).hex()}"
    with owner.writing() as session:
        session.execute(text(f"CREATE ROLE {name}"))
        session.execute(text(f"GRANT USAGE ON SCHEMA unmask TO {name}"))
        session.execute(text(f"GRANT SELECT, UPDATE ON images TO {name}"))
        session.execute(text(f"GRANT SELECT, INSERT, DELETE ON webhook_switch TO {name}"))
    options = {"options": f"-c role={name} -c search_path=pg_catalog"}
    other = Database(owner.url.update_query_dict(options).render_as_string(hide_password=False))
    yield owner, other
    other.close()
    owner.close()


def test_whoever_fails_an_image_needs_no_right_to_deliveries(role: tuple[Database, Database]) -> None:
    """The trigger writes in the name of its owner, wherever our tables lie."""
    owner, other = role
    with owner.writing() as session:
        images.add_images(session, [NewImage("a", "ada", "a.jpg")], -60)
    choose(other, "image.failed")
    fail(other, "a")
    assert told(owner) == [("a", "image.failed", "pending")]


def test_who_may_not_record_scores_for_delivery_cannot_choose_them(role: tuple[Database, Database]) -> None:
    """Otherwise each batch of scores would fail."""
    owner, other = role
    with pytest.raises(DatabaseError, match="permission denied for table deliveries"):
        choose(other, "image.scored")
    with owner.reading() as session:
        assert deliveries.recorded_kinds(session) == []
