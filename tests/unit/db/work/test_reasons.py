"""Whose fault it is that an image has no score: nobody can page the on-call by uploading junk."""

import pytest

from db.work.images import Failure
from db.work.reasons import FAILED, UNUSABLE


def test_each_reason_is_somebodys_fault_and_one_persons_only() -> None:
    assert UNUSABLE.isdisjoint(FAILED)


@pytest.mark.parametrize("reason", ["not_an_image", "empty", "truncated", "too_many_pixels", "animated", "too_small"])
def test_what_people_can_upload_is_unusable(reason: str) -> None:
    assert Failure("a", reason, "").state == "unusable"


@pytest.mark.parametrize("reason", ["timeout", "http_status", "host_not_allowed", "internal_error", "a new one"])
def test_what_we_or_the_host_did_has_failed(reason: str) -> None:
    assert Failure("a", reason, "").state == "failed"


@pytest.mark.parametrize("reason", ["truncated", "timeout"])
def test_what_is_tried_again_is_pending(reason: str) -> None:
    assert Failure("a", reason, "", retry_s=60.0).state == "pending"
