"""What files say is kept in the order in which it was found, however the database joins."""

from collections.abc import Callable

import pytest
from sqlalchemy import text

from db.file_signals import AI, AI_EDITED, CAMERA, FileSignal
from db.store.session import Database
from db.work.signals import record_signals, signals_of

JOINS = ("hashjoin", "mergejoin", "nestloop")


@pytest.mark.both
@pytest.mark.parametrize("join", JOINS)
def test_signals_keep_their_order_however_the_planner_joins(
    database: Database, add_images: Callable[..., list[str]], join: str
) -> None:
    said = [FileSignal(kind, f"{number}", "EXIF") for number in range(5) for kind in (CAMERA, AI, AI_EDITED)]
    found = {f"{number}": said if number % 2 else said[::-1] for number in range(20)}
    add_images(*found, *(f"other {number}" for number in range(300)))
    with database.writing() as session:
        session.execute(text("ANALYZE images"))  # the signals, and not the images, are hashed
        for other in set(JOINS) - {join} if database.url.get_backend_name() == "postgresql" else ():
            session.execute(text(f"SET LOCAL enable_{other} = off"))
        record_signals(session, found)
    with database.reading() as session:
        kept = signals_of(session, found)
    assert {image: [(one.kind, one.value) for one in each] for image, each in kept.items()} == {
        image: [(one.kind, one.value) for one in each] for image, each in found.items()
    }
