"""The objects that all handlers share (`Api`), and those of one request (`Call`)."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.requests import Request

from db.access.api_keys import Caller
from db.api.auth import RateLimits
from db.api.http.body import BodyBudget, BodyLimit, Held
from db.api.http.problems import busy
from db.api.settings import ApiSettings
from db.api.waiting import Waiting
from db.policy.verdicts import VerdictReader
from db.schema import Image
from db.store.session import Database
from db.work import uploads

Answer = TypeVar("Answer")

#: Threads for SQL: fewer than the connections of a pool, so that none waits for one.
_THREADS = 12
#: How old a cached count may be, in seconds.
_COUNT_S = 1.0


class AdmissionLimits:
    """The limits on waiting images and stored bytes. It counts each at most once a second."""

    def __init__(self, database: Database, settings: ApiSettings) -> None:
        self._database = database
        self._settings = settings
        self._counts: dict[str, tuple[float, int]] = {}

    def check(self, lane: str, new_bytes: int = 0) -> None:
        """Raise `ProblemError` 503 when the lane has its maximum of waiting images, or storage its maximum of bytes."""
        limit = self._settings.api_max_waiting
        if self._counted(lane, lambda session: _pending(session, lane, limit)) >= limit:
            detail = f"{limit} images of the lane {lane!r} are waiting already: try again later"
            raise busy(detail, "UNMASK_API_MAX_WAITING", limit, 10)
        if not new_bytes:
            return
        limit = self._settings.api_max_stored_bytes
        if self._counted("bytes", uploads.stored_bytes) + new_bytes > limit:
            detail = "the storage for photos that wait for a score is full: try again later, or send URLs"
            raise busy(detail, "UNMASK_API_MAX_STORED_BYTES", limit, 10)

    def _counted(self, what: str, count: Callable[[Session], int]) -> int:
        then, found = self._counts.get(what, (0.0, 0))
        if time.monotonic() - then > _COUNT_S or not then:
            with self._database.reading() as session:
                found = count(session)
            self._counts[what] = (time.monotonic(), found)
        return found


def _pending(session: Session, lane: str, limit: int) -> int:
    waiting = select(Image.id).where(Image.state == "pending", Image.lane == lane).limit(limit)
    return session.scalar(select(func.count()).select_from(waiting.subquery())) or 0


@dataclass
class Api:
    """What all requests of this process share."""

    database: Database
    settings: ApiSettings
    verdicts: VerdictReader = field(default_factory=VerdictReader)
    rates: RateLimits = field(default_factory=RateLimits)

    def __post_init__(self) -> None:
        self.bodies = BodyBudget(self.settings.api_max_body_bytes)
        self.backlog = AdmissionLimits(self.database, self.settings)
        self.waiting = Waiting(self.database, self.run, self.settings.api_poll_s)
        self._threads: CapacityLimiter | None = None

    async def run(self, function: Callable[[], Answer]) -> Answer:
        """Run SQL in one of a few threads; returns or raises what ``function`` does."""
        if self._threads is None:
            self._threads = CapacityLimiter(_THREADS)
        return await to_thread.run_sync(function, limiter=self._threads)


@dataclass
class Call:
    """One authenticated request."""

    api: Api
    request: Request
    caller: Caller
    held: Held

    @property
    def database(self) -> Database:
        """The database."""
        return self.api.database

    @property
    def actor(self) -> str:
        """The name of the caller in the audit log."""
        return f"key {self.caller.name}"

    async def run(self, function: Callable[..., Answer], *arguments: object) -> Answer:
        """Run SQL in a thread, as `Api.run`."""
        return await self.api.run(partial(function, *arguments))

    def body_limit(self, max_bytes: int, name: str) -> BodyLimit:
        """The limit on a body's size under this name, with the time limit of the settings."""
        return BodyLimit(max_bytes, name, self.api.settings.api_body_timeout_s)

    def sees(self, policy: str) -> bool:
        """Whether the key may submit and read photos of this policy."""
        return self.caller.policy in (None, policy)
