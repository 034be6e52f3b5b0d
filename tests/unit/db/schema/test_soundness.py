"""The database itself refuses rows that nobody could work on."""

from collections.abc import Callable

import pytest

from db.errors import DatabaseError
from db.store.session import Database
from tests.odd_rows import every_kind, sql

pytestmark = pytest.mark.both  # what a database holds, and refuses, differs

AddImages = Callable[..., list[str]]


@every_kind
def test_the_database_refuses_an_odd_value(
    database: Database, add_images: AddImages, change: str, said: str, only: str | None
) -> None:
    if only not in (None, database.url.get_backend_name()):
        pytest.skip(f"only on {only}")
    if "x'6f6464a9'" in change:
        pytest.skip("SQLite itself takes a lone continuation byte for a character")
    add_images("a")
    with pytest.raises(DatabaseError, match=r"ck_images|unknown|too long"), database.writing() as session:
        session.connection().exec_driver_sql(f"UPDATE images SET {sql(database, change)} WHERE id = 'a'")  # noqa: S608 - our own
    assert said
