"""Waiting for new images with PostgreSQL's LISTEN and NOTIFY. Other databases need polling."""

import time
from typing import Any

from sqlalchemy.exc import DBAPIError

from db.errors import DatabaseUnavailableError
from db.redaction import redacted
from db.store.session import Database


class Notifications:
    """A separate connection that listens to the trigger of migration 0012, which announces new images."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Any = None

    def wait(self, timeout_s: float) -> bool:
        """Whether images were added; returns as soon as they are, or after ``timeout_s`` seconds.

        Also true right after connecting, since images may have been added before. Raises
        `DatabaseUnavailableError` when the connection is lost; the next call opens another.
        """
        try:
            if self._connection is None:
                self._connection = self._listening()
                return True
            return any(True for _ in self._connection.driver_connection.notifies(timeout=timeout_s, stop_after=1))
        except (DBAPIError, self._database.engine.dialect.loaded_dbapi.Error) as error:
            self.close()
            time.sleep(min(timeout_s, 1.0))  # otherwise the caller would retry without a pause
            why = str(error).strip() or type(error).__name__
            raise DatabaseUnavailableError(f"database {self._database.name}: {redacted(why)}") from error

    def close(self) -> None:
        """Close the connection. It cannot go back to the pool, since it listens."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection = None

    def _listening(self) -> Any:
        connection = self._database.engine.raw_connection()
        driver: Any = connection.driver_connection
        driver.autocommit = True
        driver.execute(f'LISTEN "{self._database.schema}_due"')
        return connection
