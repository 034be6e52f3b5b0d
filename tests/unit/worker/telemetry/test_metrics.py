"""What metrics say of the record: one process reads it, labels stay few, and no outage makes a figure a lie."""

import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from db.errors import DatabaseUnavailableError
from db.queue import targets
from db.schema import Case, Review
from db.schema.clock import moment
from db.store import locks
from db.store.session import Database, erasing
from db.work import images
from db.work.images import NewImage
from db.work.outbox import Lane
from worker.core.settings import MetricsSettings, WorkerSettings
from worker.exporter.collectors import QueueCollector
from worker.exporter.endpoint import MetricsEndpoint
from worker.exporter.poller import LOCK, Poller
from worker.exporter.process_state import ProcessCollector
from worker.pipeline.service import Service
from worker.telemetry import metrics
from worker.telemetry.health import Health


def values(gatherer: Poller | QueueCollector, name: str) -> dict[str, float]:
    """A family's values by policy or lane ("" where it has no label)."""
    (family,) = [family for family in gatherer.families() if family.name == name]
    return {next(iter(sample.labels.values()), ""): sample.value for sample in family.samples}


def add_cases(database: Database, *rows: tuple[str, str]) -> None:
    with database.writing() as session:
        session.add_all(Case(account_id=account, policy=policy) for account, policy in rows)


def made(database: Database, owner: str = "me") -> Poller:
    return Poller(database, owner, [QueueCollector()])


def test_before_it_is_read_and_where_another_reads_a_metric_has_no_value(database: Database) -> None:
    first, second = made(database, "first"), made(database, "second")
    assert values(first, "unmask_pending_images") == {}
    first.step()
    second.step()
    assert values(first, "unmask_pending_images") == {"": 0}
    assert values(second, "unmask_pending_images") == {}


def test_what_waits_is_told_by_lane(database: Database) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage(f"old-{n}", "acc", "a.jpg", lane="backfill") for n in range(3)])
    reading = made(database)
    assert values(reading, "unmask_images_waiting") == {}
    reading.step()
    assert values(reading, "unmask_images_waiting") == {"upload": 0, "backfill": 3}
    assert set(values(reading, "unmask_oldest_waiting_seconds")) == {"upload", "backfill"}


def test_when_the_one_that_read_is_gone_another_reads_and_the_first_forgets(database: Database) -> None:
    first, second = made(database, "first"), made(database, "second")
    first.step()
    with database.writing() as session:
        locks.release(session, LOCK, "first")
    second.step()
    first.step()
    assert values(second, "unmask_pending_images") == {"": 0}
    assert values(first, "unmask_pending_images") == {}


def test_a_hundred_policies_of_somebody_hostile_are_fifty_labels_and_other(database: Database) -> None:
    hostile = [(f"acc-{n}", f'p{n:03}"}}\n# {"x" * 60}') for n in range(99)]
    add_cases(database, ("a", "default"), ("b", "default"), *hostile)
    gatherer = made(database)
    gatherer.step()
    counts = values(gatherer, "unmask_cases_open")
    assert len(counts) == metrics.MAX_POLICIES + 1
    assert (counts["default"], counts["other"]) == (2, 50)
    assert set(values(gatherer, "unmask_oldest_case_seconds")) == set(counts)


def test_what_is_about_to_miss_its_target_time_is_counted_by_policy(database: Database) -> None:
    add_cases(database, ("a", "default"), ("b", "default"))
    reading = QueueCollector()
    with database.writing() as session:
        targets.set_target(session, "default", 3600)
        newest = select(Case.id).order_by(Case.id.desc()).limit(1).scalar_subquery()
        session.execute(update(Case).where(Case.id == newest).values(created_at=moment(-3000)))
    with database.reading() as session:
        reading.read(session)
    assert values(reading, "unmask_cases_due_soon") == {"default": 1}
    assert values(reading, "unmask_cases_late") == {"default": 0}


def test_a_policy_that_is_called_other_loses_nothing() -> None:
    own = metrics.own_labels({"other": 9.0} | {f"p{n:02}": 5.0 for n in range(60)})
    merged = metrics.merged({"other": 9.0} | {f"p{n:02}": 5.0 for n in range(60)}, own, sum)
    assert (merged["other"], sum(merged.values())) == (9 + 5 * 11, 9 + 60 * 5)


def test_what_waits_grows_older_while_the_database_is_away(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("worker.exporter.collectors.time.monotonic", lambda: now)
    add_cases(database, ("a", "default"))
    reading = QueueCollector()
    with database.reading() as session:
        reading.read(session)
    case_s, image_s = values(reading, "unmask_oldest_case_seconds"), values(reading, "unmask_oldest_pending_seconds")
    now += 100
    assert values(reading, "unmask_oldest_case_seconds") == {"default": pytest.approx(case_s["default"] + 100)}
    assert values(reading, "unmask_oldest_pending_seconds") == image_s == {"": 0}, "nothing waits, and grows older"


def test_an_outage_leaves_what_was_read_as_it_was(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.exporter.poller._REST", 0.0)

    class Away(QueueCollector):
        every_s = 0.0
        away = False

        def read(self, session: Session) -> None:
            if self.away:
                raise DatabaseUnavailableError("database is away")
            super().read(session)

    add_cases(database, ("a", "default"))
    reading = Away()
    gatherer = Poller(database, "me", [reading])
    gatherer._guarded_step()  # noqa: SLF001 - what its thread does each time
    reading.away = True
    with caplog.at_level(logging.WARNING):
        gatherer._guarded_step()  # noqa: SLF001 - the same
    assert values(gatherer, "unmask_cases_open") == {"default": 1}
    assert "metrics of the database are not refreshed" in caplog.text


def test_what_happens_to_cases_is_counted_as_it_happens_and_what_is_deleted_is_no_event(database: Database) -> None:
    def total(event: str) -> float:
        return REGISTRY.get_sample_value("unmask_cases_total", {"event": event}) or 0.0

    add_cases(database, ("a", "default"), ("b", "default"))
    reading = QueueCollector()
    before = total("opened"), total("confirmed")
    for step in (None, decide, erase, add_one):
        if step is not None:
            step(database)
        with database.reading() as session:
            reading.read(session)
    assert (total("opened") - before[0], total("confirmed") - before[1]) == (1, 1)


def decide(database: Database) -> None:
    with database.writing() as session:
        case = session.query(Case).first()
        assert case is not None
        session.add(Review(case_id=case.id, reviewer="ada", decision="confirmed", blind=False))


def add_one(database: Database) -> None:
    add_cases(database, ("c", "default"))


def erase(database: Database) -> None:
    with database.writing() as session, erasing(session):
        session.execute(delete(Review))
        session.execute(delete(Case))


def test_a_reading_that_is_slow_is_taken_less_often(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("worker.exporter.poller.time.monotonic", lambda: now)
    taken = []

    class Slow(QueueCollector):
        def read(self, session: Session) -> None:
            nonlocal now
            super().read(session)
            now += 3.0
            taken.append(now)

    gatherer = Poller(database, "me", [Slow()])
    while now < 130:
        gatherer.step()
        now += 1
    assert taken == [3, 63, 123]


@pytest.fixture
def shown(service: Service, worker_settings: WorkerSettings, port: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """What the endpoint of this process says, by the name of the family."""
    health = Health(worker_settings.media_root / "run")  # type: ignore[operator]  # it is set
    health.loaded("me")
    health.consuming(consuming=True)
    state = ProcessCollector(service, health, made(service.database), lambda: {Lane.UPLOAD: 3})
    exposition = MetricsEndpoint(MetricsSettings(metrics_port=port), state)

    def scrape() -> dict[str, Any]:
        from prometheus_client.parser import text_string_to_metric_families

        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
        return {family.name: family.samples for family in text_string_to_metric_families(text)}

    yield scrape
    exposition.close()


def test_a_scrape_says_how_the_process_is_and_what_scores(shown: Callable[[], dict[str, Any]]) -> None:
    found = shown()
    assert found["unmask_ready"][0].value == 1
    assert found["unmask_in_hand_images"][0].value == 0
    assert found["unmask_batch_limit_images"][0].value == 16
    (engine,) = found["unmask_engine_info"]
    assert engine.labels == {"engine": "eager-fp32", "device": "cpu", "version": "tiny"}
    assert set(found["unmask_build_info"][0].labels) == {"version", "schema"}
    (messages,) = found["unmask_queue_messages"]
    assert (messages.labels, messages.value) == ({"lane": "upload"}, 3)


def test_a_port_that_is_taken_is_said_and_costs_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    class Nothing:
        def collect(self) -> Iterator[GaugeMetricFamily]:
            return iter(())

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        MetricsEndpoint(MetricsSettings(metrics_port=port), Nothing()).close()
    assert (
        f"no metrics: cannot listen on UNMASK_METRICS_PORT={port} of 127.0.0.1: Address already in use" in caplog.text
    )


def test_a_port_may_be_asked_for_and_none_is_by_itself() -> None:
    assert WorkerSettings.load({}).metrics_port is None
    assert WorkerSettings.load({"UNMASK_METRICS_PORT": "9464"}).metrics_port == 9464
