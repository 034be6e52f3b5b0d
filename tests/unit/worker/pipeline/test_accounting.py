"""Each image is counted once by what came of it, each of its stages is timed, and its line in the log is one."""

import ast
import logging
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from db.schema import Image
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from db.work.reasons import REASONS
from worker.core.errors import FetchError
from worker.core.settings import WorkerSettings
from worker.pipeline.accounting import LogSampler
from worker.pipeline.attempt import STAGES, Stopwatch
from worker.pipeline.service import Service

ROOT = Path(__file__).parents[4]


@pytest.fixture
def counted() -> Callable[..., float]:
    """``counted(name, **labels)``: by how much a sample grew since this test began, or was first asked for."""
    before: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in REGISTRY.collect():
        for sample in family.samples:
            before[sample.name, tuple(sorted(sample.labels.items()))] = sample.value

    def since(name: str, **labels: str) -> float:
        now = REGISTRY.get_sample_value(name, labels) or 0.0
        return now - before.get((name, tuple(sorted(labels.items()))), 0.0)

    return since


def put(database: Database, *urls: str) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage(url, "acc", url) for url in urls], 60)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.name == "worker.images"]


def test_an_image_is_counted_by_what_came_of_it_and_each_stage_is_timed(
    database: Database, service: Service, counted: Callable[..., float]
) -> None:
    put(database, "a.jpg", "gone.jpg")
    service.score(["a.jpg", "gone.jpg"])
    assert counted("unmask_images_total", outcome="scored") == 1
    assert counted("unmask_images_total", outcome="failed") == 1
    assert counted("unmask_failures_total", reason="not_found") == 1
    found = {stage: counted("unmask_stage_seconds_count", stage=stage) for stage in STAGES}
    assert found == {"wait": 2, "fetch": 2, "decode": 1, "inspect": 1, "forward": 1, "record": 2}
    assert counted("unmask_image_seconds_count") == 2
    assert counted("unmask_batch_images_sum") == 1
    assert counted("unmask_score_count", version="tiny") == 1


def test_an_image_that_is_tried_again_is_not_done_with(
    database: Database, service: Service, media: Path, counted: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, "a.jpg")

    def broken(_url: str) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(service.fetcher, "fetch", broken)
    service.score(["a.jpg"])
    assert counted("unmask_images_total", outcome="retried") == 1
    assert counted("unmask_failures_total", reason="internal_error") == 1
    assert counted("unmask_image_seconds_count") == 0
    assert media.is_dir()


def test_from_the_row_to_the_record_is_what_the_promise_is_about(
    database: Database, service: Service, counted: Callable[..., float]
) -> None:
    put(database, "a.jpg")
    with database.writing() as session:
        row = session.get_one(Image, "a.jpg")
        row.created_at = row.changed_at = row.created_at.replace(year=row.created_at.year - 1)
    service.score(["a.jpg"])
    assert counted("unmask_image_seconds_sum") == pytest.approx(365 * 86_400, rel=0.01)
    assert counted("unmask_stage_seconds_sum", stage="wait") == pytest.approx(365 * 86_400, rel=0.01)
    assert counted("unmask_image_seconds_bucket", le="86400.0") == 0


def test_an_image_has_one_line_with_its_attempt_its_model_and_its_stages_and_nothing_of_the_account(
    database: Database, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    put(database, "a.jpg")
    with caplog.at_level(logging.INFO):
        service.score(["a.jpg"])
    (line,) = lines(caplog)
    assert (line["msg"] % line["args"], line["levelname"]) == ("image scored", "INFO")
    assert (line["image"], line["attempt"], line["model"]) == ("a.jpg", 1, "tiny")
    assert all(line[f"{stage}_s"] >= 0 for stage in STAGES)
    assert line["total_s"] >= line["decode_s"] + line["forward_s"]
    assert not {"account_id", "score", "url"} & set(line)


def test_when_busy_only_some_scored_images_have_a_line_and_every_failure_has(
    database: Database,
    worker_settings: WorkerSettings,
    registered: list[int],  # noqa: ARG001
    media: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = [f"{number}.jpg" for number in range(30)]
    for name in names:
        shutil.copy(media / "a.jpg", media / name)
    gone = [f"gone-{number}.jpg" for number in range(30)]
    put(database, *names, *gone)
    limited = Service.open(worker_settings.model_copy(update={"log_images_per_s": 1}))
    with closing(limited), caplog.at_level(logging.INFO):
        limited.score([*names, *gone])
    said = lines(caplog)
    assert sum(line["levelname"] == "WARNING" for line in said) == 30
    scored = [line for line in said if line["levelname"] == "INFO"]
    assert 1 <= len(scored) < 30


def test_a_photo_without_its_end_is_scored_and_its_line_says_so_however_many_are_left_out(
    database: Database, service: Service, media: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{number}.jpg" for number in range(15)]
    for name in names:
        (media / name).write_bytes((media / "a.jpg").read_bytes()[:-2])
    put(database, *names)
    with caplog.at_level(logging.INFO):
        service.score(names)
    assert [(line["levelname"], line["notes"]) for line in lines(caplog)] == [("INFO", "no_end")] * 15


def test_an_error_of_our_own_has_its_traceback_in_the_image_s_one_line(
    database: Database, service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, "a.jpg")

    def broken(_url: str) -> bytes:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(service.fetcher, "fetch", broken)
    service.score(["a.jpg"])
    (line,) = lines(caplog)
    assert (line["levelname"], line["reason"]) == ("ERROR", "internal_error")
    assert "by design" in caplog.text
    assert "Traceback" in caplog.text


def test_what_was_left_out_is_said_with_the_next_that_is_not() -> None:
    now = 100.0
    sampled = LogSampler(2, lambda: now)
    assert [sampled.admit() for _ in range(5)] == [0, 0, None, None, None]
    now = 101.0
    assert [sampled.admit() for _ in range(3)] == [3, 0, None]


def test_no_lines_at_all_may_be_asked_for() -> None:
    assert LogSampler(0).admit() is None


def test_a_stage_that_fails_was_timed() -> None:
    stages = Stopwatch(1.0, 2.0)

    def fail() -> None:
        with stages.timed("fetch"):
            raise FetchError("timeout", "")

    with pytest.raises(FetchError):
        fail()
    assert stages.seconds["fetch"] >= 0
    assert stages.total_s >= 1.0


def test_every_code_that_an_image_may_fail_with_has_its_label() -> None:
    """A code that is new in the source must be added to the table of reasons, or it is counted as "other"."""
    assert codes_in_source() - REASONS == set()


def codes_in_source() -> set[str]:
    """The first argument of every error with a reason that worker and decoder raise."""
    named = {"FetchError", "DecoderError", "OutOfDomainError", "Rejected"}
    found = set()
    for room in ("worker", "trainer"):
        for path in (ROOT / room).glob("**/*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(code)), *_]) if name in named:
                        found.add(code)
    assert len(found) > 20, "the errors have other names now"
    return found
