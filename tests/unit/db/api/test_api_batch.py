"""Whatever one line of a batch holds, the others are stored in the same transaction, and the bad one has its reason."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from db.store.session import Database
from tests.unit.db.api.doors import Door

HEADERS = {"Content-Type": "application/x-ndjson"}
URL = "https://cdn.example.com/a.jpg"

#: Lines that are refused, as bytes; ``{known}`` is an image of another account.
BAD_LINES = [
    b"{",
    b"null",
    b"[]",
    b"[" * 5000,
    b"\x00",
    b"\xff\xfe{}",
    b'{"account_id": "a"}',
    b'{"account_id": "a", "url": "x.jpg", "state": "scored"}',
    b'{"account_id": 7, "url": "x.jpg"}',
    b'{"account_id": "\\ud800", "url": "x.jpg"}',
    b'{"account_id": "\xef\xbf\xbd", "url": "x.jpg"}',
    b'{"account_id": "a\\u2028b", "url": "x.jpg"}',
    b'{"account_id": "a", "url": "x\\u0000.jpg"}',
    b'{"account_id": "a", "url": "x\\ufffd.jpg"}',
    b'{"account_id": "a", "url": ""}',
    b'{"account_id": "a", "url": "' + b"x" * 4097 + b'"}',
    b'{"account_id": "a", "url": "' + b"x" * 20_000 + b'"}',
    b'{"account_id": "a", "url": "http://[", "image_id": "n"}',
    b'{"account_id": "a", "url": "https://h:99999/x.jpg"}',
    b'{"account_id": "a", "url": "https://user:s3cret@h/x.jpg"}',
    b'{"account_id": "a", "url": "ftp://h/x.jpg"}',
    b'{"account_id": "a", "url": "../x.jpg"}',
    b'{"account_id": "a", "url": "x.jpg", "image_id": "' + b"x" * 129 + b'"}',
    b'{"account_id": "a", "url": "x.jpg", "image_id": "\\u001b[31m"}',
    b'{"account_id": "a", "url": "x.jpg", "policy": "lost"}',
    b'{"account_id": "a", "url": "x.jpg", "policy": "Default"}',
    b'{"account_id": "a", "url": "x.jpg", "lane": "fast"}',
    b'{"account_id": "a", "url": "x.jpg", "lane": NaN}',
    b'{"account_id": "other", "url": "x.jpg", "image_id": "known"}',
    b'{"account_id": "a", "url": "x.jpg", "image_id": "refused"}',
    b'{"account_id": "a", "url": "x.jpg", "image_id": "deleted"}',
]


def refuse(database: Database, image_id: str) -> None:
    """A database that refuses this image, and no other."""
    with database.writing() as session:
        if database.url.get_backend_name() == "sqlite":
            when = f"BEFORE INSERT ON images WHEN NEW.id = '{image_id}'"
            session.execute(text(f"CREATE TRIGGER refusing {when} BEGIN SELECT RAISE(ABORT, 'no'); END"))
            return
        session.execute(text(f"ALTER TABLE unmask.images ADD CONSTRAINT refusing CHECK (id <> '{image_id}')"))


@pytest.fixture
def database(fresh_database: Database) -> Database:
    """Its own: these tests change the schema."""
    return fresh_database


def line(image_id: str) -> bytes:
    return json.dumps({"account_id": "a", "url": URL, "image_id": image_id}).encode()


def send(door: Door, lines: list[bytes]) -> list[dict[str, Any]]:
    answer = door.ask("POST", "/v1/images:batch", data=b"\n".join(lines), headers=HEADERS)
    assert answer.status_code == 200, answer.text
    return [json.loads(found) for found in answer.text.splitlines()]


@pytest.fixture
def odd_door(door: Door, database: Database) -> Door:
    """A door that knows an image, has deleted one and refuses one."""
    assert [found["status"] for found in send(door, [line("known"), line("deleted")])] == [202, 202]
    assert door.ask("DELETE", "/v1/images/deleted").status_code in (200, 204)
    refuse(database, "refused")
    return door


garbage = st.one_of(
    st.sampled_from(BAD_LINES),
    st.sampled_from(BAD_LINES).map(lambda line: line[: len(line) // 2].replace(b"\n", b"") or b"x"),
    st.binary(min_size=1, max_size=200).map(lambda data: b"\x01" + data.replace(b"\n", b"")),
)


@pytest.mark.slow
@pytest.mark.both
def test_any_one_of_the_lines_may_be_garbage_and_the_others_are_stored_at_once(
    odd_door: Door, rows: Callable[[str], list[Any]]
) -> None:
    @settings(
        max_examples=3 * len(BAD_LINES),
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(bad=garbage, count=st.integers(2, 6), at=st.integers(0, 5))
    def check(bad: bytes, count: int, at: int) -> None:
        ids = [uuid.uuid4().hex for _ in range(count)]
        lines = [line(image_id) for image_id in ids]
        lines[at % count] = bad
        del ids[at % count]
        found = send(odd_door, lines)
        (wrong,) = [result for result in found if result["status"] != 202]
        assert (wrong["line"], wrong["status"] // 100) == (at % count + 1, 4)
        assert wrong["problem"]["detail"]
        assert "s3cret" not in str(wrong)
        assert [result["image_id"] for result in found if result["status"] == 202] == ids
        stored = rows("SELECT id FROM images WHERE state = 'pending'")
        assert {image_id for (image_id,) in stored} >= set(ids)

    check()


@pytest.mark.both
@pytest.mark.parametrize("bad", BAD_LINES[-5:], ids=["lane", "lane NaN", "known", "refused", "deleted"])
def test_a_bad_line_costs_hundreds_of_others_few_statements(odd_door: Door, database: Database, bad: bytes) -> None:
    ids = [f"i{number}" for number in range(300)]
    heard = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def _(*given: Any) -> None:
        heard.append(given[2])

    found = send(odd_door, [line(image_id) for image_id in ids[:150]] + [bad] + [line(i) for i in ids[150:]])
    assert [result["status"] == 202 for result in found].count(True) == 300
    assert len([statement for statement in heard if "SAVEPOINT" not in statement]) < 120
