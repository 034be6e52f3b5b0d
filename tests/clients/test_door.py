"""The client of Python and the HTTP door: each word of the one is understood by the other."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from unmask_client import ConflictError, HttpClient, HttpError

from tests.clients.conftest import Record
from tests.unit.db.api.doors import make_key, running

pytestmark = pytest.mark.parametrize("record", ["sqlite"], indirect=True)


@pytest.fixture
def client(record: Record) -> Iterator[HttpClient]:
    """With a key of all scopes."""
    with running(record.database, make_key(record.database, name=uuid.uuid4().hex)) as door:
        yield HttpClient(door.url, door.key)


def test_a_url_is_in_the_record_and_has_a_verdict(client: HttpClient, record: Record) -> None:
    image_id = f"ü/{uuid.uuid4()}?#"
    url = "https://cdn.example.com/é.jpg"
    assert client.enqueue(account_id="ada", url=url, image_id=image_id, lane="backfill") == image_id
    assert client.enqueue(account_id="ada", url=url, image_id=image_id, lane="backfill") == image_id
    assert record.row(image_id) == ("ada", url, "default", "backfill", "pending")
    verdict = client.result(image_id)
    assert verdict is not None
    assert (verdict["state"], verdict["score"], verdict["flagged"]) == ("pending", None, None)
    with pytest.raises(ConflictError, match="another url") as caught:
        client.enqueue(account_id="ada", url="https://cdn.example.com/b.jpg", image_id=image_id)
    assert isinstance(caught.value, HttpError)


def test_bytes_are_in_the_record(client: HttpClient, record: Record, photo: Path) -> None:
    image_id = client.enqueue_photo(photo.read_bytes(), account_id="ada")
    with record.database.reading() as session:
        wanted = text("SELECT data FROM uploads WHERE image_id = :id").bindparams(id=image_id)
        assert session.scalar(wanted) == photo.read_bytes()


def test_with_wait_there_is_what_is_known_by_then(client: HttpClient) -> None:
    image_id = f"waiting-{uuid.uuid4()}"
    verdict = client.enqueue(account_id="ada", url="https://cdn.example.com/a.jpg", image_id=image_id, wait=1)
    assert verdict == {"image_id": image_id, "state": "pending"}
    scored = client.result("scored-1", wait=1)
    assert scored is not None
    assert (scored["state"], scored["score"], scored["flagged"], scored["threshold"]) == ("scored", 0.9, True, 0.5)


def test_a_photo_is_taken_back_and_unknown_then(client: HttpClient) -> None:
    image_id = client.enqueue(account_id="ada", url="https://cdn.example.com/a.jpg")
    assert client.delete(image_id)
    assert client.result(image_id) is None
    assert not client.delete(f"unheard-of-{uuid.uuid4()}")


def test_each_photo_of_a_batch_has_its_own_fate(client: HttpClient) -> None:
    url = "https://cdn.example.com/a.jpg"
    ids = [f"batch-{uuid.uuid4()}" for _ in range(1200)]
    photos = [{"account_id": "ada", "url": url, "image_id": image_id} for image_id in ids]
    photos[7] = {"account_id": "ada", "url": url, "image_id": "scored-1"}
    photos[8] = {"account_id": "", "url": url}
    fates = list(client.batch(photos))
    assert [fate["status"] for fate in fates[:10]] == [202] * 7 + [409, 422, 202]
    assert {fate["status"] for fate in fates[10:]} == {202}
    assert [fate["image_id"] for fate in fates[9:]] == ids[9:]
    assert "account_id" in fates[8]["problem"]["detail"]


def test_a_refusal_says_why(client: HttpClient, record: Record) -> None:
    with running(record.database, "unmask_unheard-of") as door, pytest.raises(HttpError) as caught:
        HttpClient(door.url, door.key).result("scored-1")
    assert (caught.value.status, caught.value.title) == (401, "Unauthorized")
    with pytest.raises(HttpError, match="policy 'unheard-of' is unknown"):
        client.enqueue(account_id="ada", url="https://cdn.example.com/a.jpg", policy="unheard-of")


def test_a_full_door_says_when_to_try_again(record: Record) -> None:
    key = make_key(record.database, name=uuid.uuid4().hex, rate_per_minute=1)
    with running(record.database, key) as door:
        client = HttpClient(door.url, door.key)
        client.result("scored-1")
        with pytest.raises(HttpError) as caught:
            client.result("scored-1")
    assert caught.value.status == 429
    assert 0 < (caught.value.retry_after or 0) <= 60
