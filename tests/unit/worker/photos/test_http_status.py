"""A host says when to come again: in seconds, or as a date."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.photos.http_status import retry_after_s

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        (format_datetime(NOW + timedelta(minutes=2), usegmt=True), 120.0),
        (format_datetime(NOW - timedelta(days=2), usegmt=True), 0.0),
        ("Mon, 30 Nov 2026 12:00:30 -0000", 30.0),
        ("Monday, 30-Nov-26 12:00:30 GMT", 30.0),
        *((nonsense, None) for nonsense in ("", "-5", "1.5", "1e9", "nan", "9" * 5000, "\u0665", "soon", "0" * 11)),
        (None, None),
    ],
)
def test_seconds_and_dates_are_read_and_nonsense_is_not(value: str | None, expected_s: float | None) -> None:
    assert retry_after_s(value, NOW) == expected_s


@given(st.text())
def test_whatever_a_host_says_it_is_a_pause_or_nothing(value: str) -> None:
    found = retry_after_s(value, NOW)
    assert found is None or found >= 0
