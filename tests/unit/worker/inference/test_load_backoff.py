"""A model version that cannot serve is loaded again in growing pauses, and the log says why once."""

import logging

import pytest

from worker.inference.load_backoff import LONGEST_S, LoadBackoff


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_pauses_double_up_to_the_longest_and_one_line_says_why(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    backoff = LoadBackoff(clock)
    tries = []
    with caplog.at_level(logging.INFO):
        for second in range(3600):
            clock.now = float(second)
            if backoff.may_load(7):
                tries.append(second)
                backoff.failed(7, "v7", ValueError("its self-test fails"), 1.0)
        backoff.loaded(7, "v7")
    assert tries[:11] == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1023]
    assert tries[11] - tries[10] == LONGEST_S
    assert [record.message for record in caplog.records] == [
        "model version v7 cannot be loaded and is tried again in growing pauses: ValueError: its self-test fails",
        "model version v7 is loaded again",
    ]


def test_another_reason_is_said_and_a_version_that_was_not_asked_for_meanwhile_has_no_pause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backoff = LoadBackoff(Clock())
    backoff.failed(7, "v7", ValueError("one"), 1.0)
    backoff.failed(7, "v7", ValueError("two"), 1.0)
    backoff.failed(8, "v8", ValueError("three"), 1.0)
    assert [line.rsplit(": ", 1)[1] for line in (r.message for r in caplog.records)] == ["one", "two", "three"]
    backoff.forget_all_but([8])
    assert (backoff.may_load(7), backoff.may_load(8)) == (True, False)
