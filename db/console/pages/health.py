"""Whether the console can do its work, for whoever supervises it."""

from sqlalchemy import select
from starlette.responses import PlainTextResponse, Response

from db.console.visit import Visit


def show(visit: Visit) -> Response:
    """It answers, and so does its database: else the door says 503."""
    with visit.database.reading() as session:
        session.execute(select(1))
    return PlainTextResponse("well\n")
