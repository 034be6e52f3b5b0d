"""Periods of reports: whole days in UTC, both included."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self

from db.errors import DbError


@dataclass(frozen=True, slots=True)
class Period:
    """From the beginning of ``since`` to the end of ``until``."""

    since: date
    until: date

    @classmethod
    def parse(cls, since: str, until: str) -> Self:
        """Read two days such as 2026-01-31; raises `DbError`."""
        try:
            period = cls(date.fromisoformat(since), date.fromisoformat(until))
        except ValueError as error:
            raise DbError(f"the period {since!r} to {until!r} needs two days such as 2026-01-31") from error
        if period.since > period.until:
            raise DbError(f"the period begins on {since}, after its end on {until}")
        return period

    @property
    def start(self) -> datetime:
        """The first moment of the period, in UTC."""
        return datetime(self.since.year, self.since.month, self.since.day, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return datetime(self.until.year, self.until.month, self.until.day, tzinfo=UTC) + timedelta(days=1)

    def __str__(self) -> str:
        return f"{self.since} to {self.until}"
