"""What the database refused for single items of a message: the others go on, and the message fails at its end."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from db.errors import DatabaseError, DatabaseUnavailableError

Result = TypeVar("Result")


class Refused:
    """Collects the database's refusals; a database that cannot be reached is no refusal, and is raised at once."""

    def __init__(self) -> None:
        self._first: DatabaseError | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note a refusal in this block instead of raising it."""
        try:
            yield
        except DatabaseUnavailableError:
            raise
        except DatabaseError as error:
            self._first = self._first or error

    def result(self, future: Future[Result]) -> Result | None:
        """What a future holds; None where the database refused."""
        found = None
        with self.noted():
            found = future.result()
        return found  # noqa: RET504 - a return within would end without a value where the block swallows

    def check(self) -> None:
        """Raises the first refusal, if any."""
        if self._first is not None:
            raise self._first
