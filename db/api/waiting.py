"""Waiting for verdicts: all requests that wait share one query."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import select

from db.errors import DatabaseError
from db.schema import Image
from db.store.session import Database

log = logging.getLogger(__name__)

#: Runs a function in a thread.
RunInThread = Callable[[Callable[[], set[str]]], Awaitable[set[str]]]


class Waiting:
    """The images whose verdicts requests wait for. It polls the database while there are any."""

    def __init__(self, database: Database, run: RunInThread, poll_s: float) -> None:
        self._database = database
        self._run = run
        self._poll_s = poll_s
        self._awaited: dict[str, set[asyncio.Event]] = {}
        self._polling: asyncio.Task[None] | None = None

    async def done(self, image_id: str, timeout_s: float) -> bool:
        """Wait until the image is no longer pending; False when ``timeout_s`` passes first."""
        with self._awaiting(image_id) as event:
            try:
                async with asyncio.timeout(timeout_s):
                    await event.wait()
            except TimeoutError:
                return False
        return True

    @contextmanager
    def _awaiting(self, image_id: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._awaited.setdefault(image_id, set()).add(event)
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        try:
            yield event
        finally:
            events = self._awaited.get(image_id, set())
            events.discard(event)
            if not events:
                self._awaited.pop(image_id, None)

    async def _poll(self) -> None:
        while self._awaited:
            await asyncio.sleep(self._poll_s)
            ids = list(self._awaited)
            try:
                ended = await self._run(lambda: self._ended(ids))  # noqa: B023 - it is awaited here
            except DatabaseError as error:
                log.warning("waiting requests: %s", error)
                continue
            for image_id in ended:
                for event in self._awaited.pop(image_id, ()):
                    event.set()

    def _ended(self, image_ids: Collection[str]) -> set[str]:
        """The images that are no longer pending, or no longer exist."""
        with self._database.reading() as session:
            statement = select(Image.id).where(Image.id.in_(image_ids), Image.state == "pending")
            return set(image_ids) - set(session.scalars(statement))
