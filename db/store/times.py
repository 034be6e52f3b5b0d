"""Times that Python cannot hold, such as PostgreSQL's ``infinity``: read as the nearest one that it can.

psycopg would refuse the whole row, and with it all rows of the query.
"""

from datetime import UTC, datetime
from typing import Any

from psycopg import DataError
from psycopg.types.datetime import TimestamptzLoader

from db.schema.clock import EARLIEST

#: What stands for later times; a worker adds pauses to it.
LATEST = datetime(9998, 12, 31, tzinfo=UTC)


class _BoundedLoader(TimestamptzLoader):
    def load(self, data: Any) -> datetime:
        try:
            return super().load(data)
        except DataError:
            early = bytes(data).startswith(b"-") or bytes(data).endswith(b"BC")
            return EARLIEST if early else LATEST


def prepare(connection: Any) -> None:
    """Have a connection of psycopg read times so."""
    connection.adapters.register_loader("timestamptz", _BoundedLoader)
