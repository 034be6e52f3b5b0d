"""What an operator sees of a real worker: metrics, as Prometheus parses them, and a log of JSON, a line an event."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from db.models import versions
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from trainer.pixels.preprocess import FINGERPRINT
from worker.commands.model import store_checkpoint

PATIENCE_S = 90
#: The contract with rules and dashboards: family, its type, and the labels that its samples have.
CONTRACT = {
    "unmask_images": ("counter", {"outcome"}),
    "unmask_failures": ("counter", {"reason"}),
    "unmask_stage_seconds": ("histogram", {"stage"}),
    "unmask_image_seconds": ("histogram", set()),
    "unmask_batch_images": ("histogram", set()),
    "unmask_score": ("histogram", {"version"}),
    "unmask_engine_info": ("gauge", {"engine", "device", "version"}),
    "unmask_build_info": ("gauge", {"version", "schema"}),
    "unmask_ready": ("gauge", set()),
    "unmask_in_hand_images": ("gauge", set()),
    "unmask_batch_limit_images": ("gauge", set()),
    "unmask_oldest_pending_seconds": ("gauge", set()),
    "unmask_pending_images": ("gauge", set()),
    "unmask_leased_images": ("gauge", set()),
    "unmask_pausing_images": ("gauge", set()),
    "unmask_images_waiting": ("gauge", {"lane"}),
    "unmask_oldest_waiting_seconds": ("gauge", {"lane"}),
    "unmask_queue_messages": ("gauge", {"lane"}),
    "unmask_adopted_messages": ("counter", set()),
    "unmask_readings_overdue_seconds": ("gauge", set()),
    "unmask_cases": ("counter", {"event"}),
    "unmask_cases_open": ("gauge", {"policy"}),
    "unmask_oldest_case_seconds": ("gauge", {"policy"}),
    "unmask_cases_due_soon": ("gauge", {"policy"}),
    "unmask_cases_late": ("gauge", {"policy"}),
    "unmask_sweeper_lag_seconds": ("gauge", set()),
    "unmask_drift_psi": ("gauge", {"policy"}),
    "unmask_flagged_share": ("gauge", {"policy"}),
    "unmask_live_precision": ("gauge", {"policy"}),
    "unmask_live_fpr": ("gauge", {"policy"}),
    "unmask_certificate_expired": ("gauge", {"policy"}),
    "unmask_certificate_evidence": ("gauge", {"policy"}),
    "unmask_novel_clusters": ("gauge", set()),
    "unmask_webhook_retries": ("counter", set()),
    "unmask_webhook_dead_letters": ("gauge", set()),
    "unmask_webhook_pending": ("gauge", set()),
    "unmask_refused_messages": ("counter", {"reason"}),
    "unmask_shadow_failures": ("counter", set()),
}


@pytest.fixture
def environment(
    database: Database, database_url: str, broker_url: str, tiny_checkpoint: Path, photo: Path, tmp_path: Path
) -> dict[str, str]:
    """What an operator would set, with a quick model registered and two photos of which one is broken."""
    (tmp_path / "media").mkdir()
    shutil.copy(photo, tmp_path / "media" / "good.jpg")
    (tmp_path / "media" / "half.jpg").write_bytes(photo.read_bytes()[:20_000])
    sha256 = store_checkpoint(tiny_checkpoint, tmp_path / "models")
    with database.writing() as session:
        versions.register(session, "tiny", sha256, FINGERPRINT, {})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return os.environ | {
        "UNMASK_DATABASE_URL": database_url,
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MODELS_DIR": str(tmp_path / "models"),
        "UNMASK_MEDIA_ROOT": str(tmp_path / "media"),
        "UNMASK_RUN_DIR": str(tmp_path / "run"),
        "UNMASK_ENGINE": "eager",
        "UNMASK_METRICS_PORT": str(port),
    }


@pytest.fixture
def log(environment: dict[str, str]) -> Iterator[Path]:
    """Everything that a running worker says; it ends with the test, by SIGTERM and with exit status 0."""
    with running(environment) as path:
        yield path


@contextmanager
def running(environment: dict[str, str]) -> Iterator[Path]:
    """A worker, and its log."""
    path = Path(environment["UNMASK_RUN_DIR"]).with_name("worker.log")
    with path.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "worker"], env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield path
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, path.read_text()[-2000:]
    finally:
        process.kill()
        process.wait()


def scraped(environment: dict[str, str]) -> dict[str, Metric]:
    with urlopen(f"http://127.0.0.1:{environment['UNMASK_METRICS_PORT']}/metrics") as answer:
        return {family.name: family for family in text_string_to_metric_families(answer.read().decode())}


def sample(found: dict[str, Metric], family: str, name: str, **labels: str) -> float:
    """One value; 0 where there is none."""
    return sum(one.value for one in found[family].samples if one.name == name and one.labels == labels)


def wait_until(done: Callable[[], Any], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.1)


def refused_here(environment: dict[str, str]) -> dict[str, int]:
    found: dict[str, int] = json.loads(unmask(environment, "status", "--json"))["refused_here"]
    return found


def answers(environment: dict[str, str]) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", int(environment["UNMASK_METRICS_PORT"]))) == 0


def test_a_worker_says_what_it_does_to_prometheus_and_in_its_log(
    environment: dict[str, str], database: Database, broker_url: str, log: Path
) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage("good", "acc", "good.jpg"), NewImage("half", "acc", "half.jpg")], 0.1)
    with Redis.from_url(broker_url) as client:
        client.lpush("unmask:unmask", "no message at all")
    wait_until(lambda: answers(environment), log)
    wait_until(lambda: done_with_both(scraped(environment)), log)
    found = scraped(environment)
    wait_until(lambda: refused_here(environment) == {"not_a_message": 1}, log)  # said with the next sign of life

    assert missing(found) == {}
    assert sample(found, "unmask_failures", "unmask_failures_total", reason="truncated") == 1
    assert sample(found, "unmask_stage_seconds", "unmask_stage_seconds_count", stage="forward") == 1
    assert sample(found, "unmask_score", "unmask_score_count", version="tiny") == 1
    assert sample(found, "unmask_ready", "unmask_ready") == 1
    assert sample(found, "unmask_refused_messages", "unmask_refused_messages_total", reason="not_a_message") == 1
    well_named([family for name, family in found.items() if name.startswith("unmask_")])
    said = [json.loads(line) for line in log.read_text().splitlines()]
    lines = {line["image"]: line for line in said if line["logger"] == "worker.images"}
    assert (lines["good"]["event"], lines["good"]["model"]) == ("image scored", "tiny")
    assert (lines["half"]["event"], lines["half"]["reason"]) == ("image unusable", "truncated")
    assert any("ready." in line["event"] for line in said if line["logger"].startswith("celery"))


def test_without_a_broker_it_still_says_what_waits(environment: dict[str, str], database: Database) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage("good", "acc", "good.jpg")], 0.1)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = {"UNMASK_BROKER_URL": f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"}
        with running(environment | away) as log:
            wait_until(lambda: answers(environment), log)
            wait_until(lambda: sample(scraped(environment), "unmask_pending_images", "unmask_pending_images") == 1, log)


def done_with_both(found: dict[str, Metric]) -> bool:
    """Both images counted, the record read, and the word that health keeps on the refused message as fresh."""
    counted = sum(one.value for one in found["unmask_images"].samples)
    return counted == 2 and bool(found["unmask_pending_images"].samples)


def missing(found: dict[str, Metric]) -> dict[str, Any]:
    """What the contract says and the worker does not: families, and labels of those that have samples."""
    wrong: dict[str, Any] = {}
    for name, (kind, labels) in CONTRACT.items():
        if name not in found or found[name].type != kind:
            wrong[name] = found.get(name)
        elif any(set(one.labels) - {"le"} != labels for one in found[name].samples):
            wrong[name] = found[name].samples
    return wrong


def well_named(families: list[Metric]) -> None:
    """https://prometheus.io/docs/practices/naming: base units, counters in "_total", words in lower case, and help."""
    for family in families:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|percent|total)$", family.name), family.name
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        assert all(one.name.endswith(ends) for one in family.samples), family.name
        for one in family.samples:
            assert all(re.fullmatch(r"[a-z_]+", label) for label in one.labels), family.name


def unmask(environment: dict[str, str], *words: str) -> str:
    command = [sys.executable, "-m", "worker", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or (words[0], done.returncode) == ("status", 1), done.stderr  # 1: all is not well
    return done.stdout
