"""What a file says of itself stands; what may pass is tried again, less and less often, until it is not worth it."""

from dataclasses import replace
from typing import Any

import pytest

from db.work.images import LeasedImage
from trainer.errors import Rejected, TrainerError
from worker.core.errors import DecoderError, FetchError, ScoringError
from worker.core.settings import WorkerSettings
from worker.pipeline import retry_policy

SETTINGS = WorkerSettings(max_attempts=3, retry_s=10)


def job(attempts: int = 1, losses: int = 0, *, overdue: bool = False) -> LeasedImage:
    return LeasedImage("a", "acc", "a.jpg", "default", attempts, losses, overdue)


def retried(error: Exception, **known: Any) -> bool:
    return retry_policy.classify(job(**known), error, SETTINGS).retry_s is not None


BUSY = FetchError("http_status", "HTTP 503", transient=True)
GONE = FetchError("not_found", "HTTP 410")
NOT_YET = FetchError("not_found", "HTTP 404", not_yet=True)


@pytest.mark.parametrize("error", [GONE, Rejected("truncated", "a complete file", "half"), TrainerError("no map")])
def test_what_no_other_try_can_change_is_over_at_once(error: Exception) -> None:
    assert not retried(error)


@pytest.mark.parametrize(("attempts", "overdue", "expected"), [(1, True, True), (3, True, False), (300, False, True)])
def test_what_may_pass_by_itself_is_tried_until_it_is_overdue_and_often_enough(
    attempts: int, overdue: bool, expected: bool
) -> None:
    assert retried(BUSY, attempts=attempts, overdue=overdue) is expected


@pytest.mark.parametrize(
    "error",
    [
        ValueError("ours"),
        ScoringError("not a number"),
        DecoderError("decoder_killed", ""),
        DecoderError("decoder_timeout", ""),
    ],
)
def test_what_is_wrong_here_or_kills_decoders_is_tried_a_few_times_however_young_it_is(error: Exception) -> None:
    assert retried(error, attempts=2)
    assert not retried(error, attempts=3)


@pytest.mark.parametrize(
    ("age_s", "overdue", "expected"), [(0, False, True), (599, False, True), (601, False, False), (5, True, False)]
)
def test_a_photo_that_is_not_there_yet_is_tried_while_its_upload_is_fresh(
    age_s: float, overdue: bool, expected: bool
) -> None:
    for attempts in (1, 300):
        fresh = replace(job(attempts, overdue=overdue), age_s=age_s)
        assert (retry_policy.classify(fresh, NOT_YET, SETTINGS).retry_s is not None) is expected


@pytest.mark.parametrize(
    ("asked_s", "age_s", "expected_s"),
    [(60, 0, 60), (0, 0, 10), (1e10, 0, 3600), (1000, 6 * 3600 - 100, 100), (1000, 7 * 3600, 10)],
)
def test_the_pause_that_a_host_asks_for_is_kept_within_the_deadline_and_an_hour(
    asked_s: float, age_s: float, expected_s: float
) -> None:
    busy = FetchError("http_status", "HTTP 429", transient=True, retry_after_s=asked_s)
    for _ in range(20):
        pause_s = retry_policy.classify(replace(job(), age_s=age_s), busy, SETTINGS).retry_s
        assert pause_s is not None
        assert 0.75 * expected_s <= pause_s <= 1.25 * expected_s


def test_a_pause_that_a_host_asks_for_makes_no_final_failure_another_try() -> None:
    assert not retried(FetchError("access_denied", "HTTP 403", retry_after_s=5))


def test_lost_workers_are_no_tries() -> None:
    assert retried(DecoderError("decoder_killed", ""), attempts=22, losses=20)
    assert not retried(DecoderError("decoder_killed", ""), attempts=23, losses=20)


def test_a_lack_of_memory_is_not_the_files_fault() -> None:
    rejected = Rejected("corrupt", "a complete file", "MemoryError")
    rejected.__cause__ = MemoryError()
    failure = retry_policy.classify(job(), rejected, SETTINGS)
    assert failure.reason == "out_of_memory"
    assert failure.retry_s is not None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BUSY, "http_status"),
        (DecoderError("decoder_timeout", ""), "decoder_timeout"),
        (KeyError("x"), "internal_error"),
    ],
)
def test_each_failure_has_a_code_that_can_be_counted(error: Exception, reason: str) -> None:
    assert retry_policy.classify(job(), error, SETTINGS).reason == reason


def test_the_detail_is_text_that_every_database_takes() -> None:
    detail = retry_policy.classify(job(), ValueError("a\0b\ud800" + "c" * 1000), SETTINGS).detail
    assert detail.startswith("ValueError: ab?c")
    assert len(detail) <= 500


@pytest.mark.parametrize(("tries", "expected_s"), [(0, 10), (1, 10), (2, 20), (4, 80), (10, 3600), (5000, 3600)])
def test_pauses_are_doubled_up_to_an_hour_and_spread(tries: int, expected_s: float) -> None:
    pauses = {retry_policy.pause_s(tries, 10) for _ in range(50)}
    assert len(pauses) > 1
    assert all(0.75 * expected_s <= pause <= 1.25 * expected_s for pause in pauses)
