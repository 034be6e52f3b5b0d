"""pict-rs asks whether to keep a photo: 2xx keeps it, anything else refuses it."""

import threading
import time
from collections.abc import Callable

import pytest
import requests
from sqlalchemy import select

from db.api.endpoints import pictrs
from db.policy import scores
from db.policy.scores import Provenance, Scored
from db.schema import Image
from db.store.session import Database
from tests.unit.db.api.doors import Door

PHOTO = b"\x89PNG the bytes of a photo"


def validate(door: Door, query: str = "") -> requests.Response:
    """With the key in the URL, as pict-rs can."""
    url = f"http://any:{door.key}@127.0.0.1:{door.port}/v1/pict-rs{query}"
    return requests.post(url, data=PHOTO, headers={"Content-Type": "image/png"}, timeout=30)


@pytest.mark.parametrize(("score", "status"), [(0.9, 406), (0.1, 204)])
def test_a_flagged_photo_is_refused_and_any_other_is_kept(
    door: Door, database: Database, version_id: int, set_threshold: Callable[..., int], score: float, status: int
) -> None:
    set_threshold(0.5)

    def work() -> None:
        while (image_id := _pending(database)) is None:
            time.sleep(0.02)
        scored = Scored(image_id, "default", score, "f" * 64, 1000, 640, 480, uploaded=True)
        with database.writing() as session:
            scores.record(session, [scored], Provenance(version_id, "eager-fp32", "cpu"))

    worker = threading.Thread(target=work)
    worker.start()
    assert validate(door).status_code == status
    worker.join()
    assert validate(door).status_code == status  # the same photo again is one image


def test_a_photo_without_a_verdict_is_refused_unless_the_url_says_otherwise(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictrs, "_WAIT_S", 1)
    answer = validate(door)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:unmask:problem:no_verdict")
    assert validate(door, "?missing=accept").status_code == 204
    assert validate(door, "?missing=perhaps").status_code == 422


def _pending(database: Database) -> str | None:
    with database.reading() as session:
        return session.scalar(select(Image.id))
