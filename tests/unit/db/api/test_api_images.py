"""Photos are submitted by URL and as bytes, once each, and what became of them is told."""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from db.models import versions
from db.policy import pauses, scores
from db.policy.attribution import ChangeAuthor
from db.policy.scores import Provenance, Scored
from db.schema import Image, ModelVersion
from db.store.session import Database
from db.work import images
from db.work.images import Failure
from tests.unit.db.api.doors import Door, Serve, make_key

Rows = Callable[[str], list[Any]]
PHOTO = b"\xff\xd8\xff\xe0 the bytes of a photo"
A = {"account_id": "acc", "url": "https://cdn.example.com/a.jpg", "image_id": "a"}


def score(database: Database, version_id: int, image_id: str, value: float, *, uploaded: bool = False) -> None:
    scored = Scored(image_id, "default", value, "f" * 64, 1000, 640, 480, uploaded=uploaded)
    with database.writing() as session:
        scores.record(session, [scored], Provenance(version_id, "eager-fp32", "cpu"))


def test_a_photo_by_url_is_in_line_and_its_verdict_has_a_place(door: Door, rows: Rows) -> None:
    answer = door.post(A)
    assert (answer.status_code, answer.json()) == (202, {"image_id": "a", "state": "pending"})
    assert answer.headers["location"] == "/v1/images/a"
    assert rows("SELECT id, account_id, url, policy, lane, state FROM images") == [
        ("a", "acc", "https://cdn.example.com/a.jpg", "default", "upload", "pending")
    ]
    shown = door.ask("GET", "/v1/images/a").json()
    assert (shown["state"], shown["score"], shown["flagged"], shown["signals"]) == ("pending", None, None, [])


def test_a_photo_without_an_id_gets_one(door: Door, rows: Rows) -> None:
    image_id = door.post({"account_id": "acc", "url": "https://x.example/a.jpg"}).json()["image_id"]
    assert rows("SELECT id FROM images") == [(image_id,)]


def test_an_id_of_any_characters_is_found_again(door: Door) -> None:
    for image_id in ("a/b c?d#e%2F", "ünïcode/ünï", "..", "batch"):
        answer = door.post(A | {"image_id": image_id})
        assert answer.status_code == 202
        if image_id != "..":  # which clients resolve before they ask
            assert door.ask("GET", answer.headers["location"]).json()["image_id"] == image_id


def test_the_same_photo_twice_is_one_image_and_another_under_its_id_is_a_conflict(door: Door, rows: Rows) -> None:
    assert [door.post(A).status_code for _ in range(2)] == [202, 202]
    answer = door.post(A | {"url": "https://cdn.example.com/other.jpg"})
    assert answer.status_code == 409
    assert answer.json()["detail"] == "image 'a' is known with another url: an id stands for one photo"
    assert len(rows("SELECT id FROM images")) == 1


@pytest.mark.parametrize("how", ["form", "raw"])
def test_bytes_are_kept_in_the_record_under_a_url_of_their_own(door: Door, rows: Rows, how: str) -> None:
    fields = {"account_id": "acc", "image_id": "a", "lane": "backfill"}
    for _ in range(2):  # the second is the same image
        if how == "form":
            answer = door.ask("POST", "/v1/images", data=fields, files={"photo": ("a.jpg", PHOTO, "image/jpeg")})
        else:
            headers = {"Content-Type": "image/jpeg"}
            answer = door.ask("POST", "/v1/images", data=PHOTO, params=fields, headers=headers)
        assert (answer.status_code, answer.json()) == (202, {"image_id": "a", "state": "pending"})
    digest = hashlib.sha256(PHOTO).hexdigest()
    assert rows("SELECT url, lane FROM images") == [(f"upload:{digest}:a", "backfill")]
    assert [bytes(row.data) for row in rows("SELECT data FROM uploads")] == [PHOTO]
    assert (
        door.ask("POST", "/v1/images", data=b"other", params=fields, headers={"Content-Type": "image/png"}).json()[
            "status"
        ]
        == 409
    )


@pytest.mark.parametrize("end", ["scored", "failed", "taken back"])
def test_bytes_go_when_the_photo_is_scored_or_has_failed_for_good(
    door: Door, database: Database, rows: Rows, version_id: int, end: str
) -> None:
    door.ask("POST", "/v1/images", data={"account_id": "acc", "image_id": "a"}, files={"photo": PHOTO})
    if end == "scored":
        score(database, version_id, "a", 0.1, uploaded=True)
    elif end == "failed":
        fail(database, "a")
    else:
        assert door.ask("DELETE", "/v1/images/a").status_code == 204
    assert rows("SELECT image_id FROM uploads") == []


def fail(database: Database, image_id: str, reason: str = "corrupt") -> None:
    with database.writing() as session:
        session.execute(update(Image).where(Image.id == image_id).values(lease_owner="me"))
        images.record_failures(session, [Failure(image_id, reason, "it is not whole")], "me")


def test_bytes_of_a_flagged_photo_stay_until_its_case_is_closed(
    door: Door,
    database: Database,
    rows: Rows,
    version_id: int,
    set_threshold: Callable[..., int],
    close_case: Callable[[int, str], None],
) -> None:
    set_threshold(0.5)
    door.ask("POST", "/v1/images", data={"account_id": "acc", "image_id": "a"}, files={"photo": PHOTO})
    score(database, version_id, "a", 0.9, uploaded=True)
    assert rows("SELECT image_id FROM uploads") == [("a",)]
    ((case_id,),) = rows("SELECT id FROM cases")
    close_case(case_id, "confirmed")
    assert rows("SELECT image_id FROM uploads") == []


def test_a_verdict_says_how_rare_such_a_score_is_and_by_which_threshold_it_flags(
    door: Door, database: Database, version_id: int, set_threshold: Callable[..., int]
) -> None:
    with database.writing() as session:
        card = {"reference": {"name": "reals", "scores": [0.1, 0.2, 0.3, 0.8]}}
        session.get_one(ModelVersion, version_id).card = card
    set_threshold(0.5)
    for image_id, value in (("a", 0.75), ("b", 0.25)):
        door.post(A | {"image_id": image_id})
        score(database, version_id, image_id, value)
    flagged, real = (door.ask("GET", f"/v1/images/{image_id}").json() for image_id in "ab")
    assert flagged == {
        "image_id": "a",
        "state": "scored",
        "score": 0.75,
        "flagged": True,
        "threshold": 0.5,
        "one_in": 4.0,
        "model": "first",
        "reason": None,
        "flagged_by": "score",
        "evidence": None,
        "verdict": "flagged",
        "score_low": None,
        "score_high": None,
        "one_in_at_least": pytest.approx(1.33, abs=0.01),
        "reference": "reals",
        "signals": [],
    }
    assert (real["flagged"], real["verdict"], real["one_in"]) == (False, "clear", 2.0)


def test_what_cannot_be_scored_is_never_called_real(door: Door, database: Database, version_id: int) -> None:
    assert version_id
    door.post(A)
    fail(database, "a", "not_found")
    shown = door.ask("GET", "/v1/images/a").json()
    assert (shown["state"], shown["flagged"], shown["score"], shown["reason"]) == ("failed", None, None, "not_found")


def test_without_a_threshold_or_while_flagging_is_paused_nothing_is_called_unflagged(
    door: Door, database: Database, version_id: int, set_threshold: Callable[..., int]
) -> None:
    door.post(A)
    score(database, version_id, "a", 0.9)
    shown = door.ask("GET", "/v1/images/a").json()
    assert (shown["state"], shown["score"], shown["flagged"], shown["threshold"]) == ("scored", 0.9, None, None)
    set_threshold(0.5)
    with database.writing() as session:
        pauses.pause(session, "flagging", ChangeAuthor("ada", "a test"))
    for image_id, value in (("b", 0.9), ("c", 0.1)):
        door.post(A | {"image_id": image_id})
        score(database, version_id, image_id, value)
    above, below = (door.ask("GET", f"/v1/images/{image_id}").json() for image_id in "bc")
    assert (above["flagged"], below["flagged"]) == (None, False)


def test_a_photo_that_another_model_scored_has_no_verdict_of_this_one(
    door: Door, database: Database, version_id: int, rows: Rows
) -> None:
    door.post(A)
    score(database, version_id, "a", 0.1)
    with database.writing() as session:
        versions.by_name(session, "first").state = "retired"
        session.flush()
        versions.register(session, "second", "2" * 64, "unmask-1", {})
    shown = door.ask("GET", "/v1/images/a").json()
    assert (shown["score"], shown["flagged"], shown["model"]) == (None, None, None)
    assert shown["reason"] == "scored_by_another_model"
    assert rows("SELECT state FROM results") == [("scored",)]


def test_who_prefers_to_wait_has_the_verdict_in_one_call(door: Door, database: Database, version_id: int) -> None:
    def work() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with database.reading() as session:
                if session.get(Image, "a") is not None:
                    break
            time.sleep(0.02)
        score(database, version_id, "a", 0.25)

    worker = threading.Thread(target=work)
    worker.start()
    answer = door.post(A, headers={"Prefer": "respond-async, wait=20"})
    worker.join()
    assert (answer.status_code, answer.json()["score"]) == (200, 0.25)
    assert answer.headers["preference-applied"] == "wait=20"
    assert door.post(A, headers={"Prefer": "wait=20"}).status_code == 200


def test_who_waits_in_vain_is_told_that_it_is_in_line(door: Door) -> None:
    answer = door.post(A, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    answer = door.ask("GET", "/v1/images/a", headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["state"]) == (200, "pending")


def test_a_fresh_url_lets_a_photo_without_a_score_wait_again_and_is_in_the_audit_log(
    door: Door, database: Database, version_id: int, rows: Rows
) -> None:
    door.post(A)
    fail(database, "a", "http_status")
    fresh = {"url": "https://cdn.example.com/a.jpg?signed=again"}
    answer = door.ask("PUT", "/v1/images/a", json=fresh)
    assert (answer.status_code, answer.json()) == (202, {"image_id": "a", "state": "pending"})
    assert rows("SELECT url, state, reason, attempts FROM images") == [(fresh["url"], "pending", None, 0)]
    log = "SELECT who, what, image_id, detail FROM audit_log"
    assert rows(log) == [("key app", "url_changed", "a", "was failed")]
    score(database, version_id, "a", 0.1)
    answer = door.ask("PUT", "/v1/images/a", json={"url": "https://cdn.example.com/new.jpg"})
    assert answer.status_code == 409
    assert "an id stands for one photo: submit it as a new image" in answer.json()["detail"]
    assert door.ask("PUT", "/v1/images/a", json=fresh).json() == {"image_id": "a", "state": "scored"}


def test_a_photo_that_is_taken_back_belongs_to_nobody_and_does_not_come_again(door: Door, rows: Rows) -> None:
    door.post(A)
    assert [door.ask("DELETE", "/v1/images/a").status_code for _ in range(2)] == [204, 204]
    assert rows("SELECT account_id, url, state, reason FROM images") == [(None, None, "unusable", "erased")]
    assert rows("SELECT what, image_id FROM audit_log") == [("taken_back", "a")]
    assert door.ask("GET", "/v1/images/a").status_code == 404
    assert door.post(A).status_code == 409
    assert door.ask("DELETE", "/v1/images/unknown").status_code == 404


def test_a_key_of_one_policy_neither_submits_nor_sees_another_ones_photos(
    serve: Serve, database: Database, add_policy: Callable[[str], None]
) -> None:
    add_policy("vip")
    owner = serve()
    owner.post(A)
    door = Door(owner.port, make_key(database, name="vip", policy="vip"))
    assert door.ask("GET", "/v1/images/a").status_code == 404
    assert door.ask("DELETE", "/v1/images/a").status_code == 404
    assert door.post(A | {"image_id": "b", "policy": "default"}).status_code == 403
    assert door.post(A | {"image_id": "b"}).status_code == 202
    assert [each["name"] for each in door.ask("GET", "/v1/policies").json()["policies"]] == ["vip"]


def test_an_unknown_policy_is_refused(door: Door) -> None:
    answer = door.post(A | {"policy": "nobody's"})
    assert (answer.status_code, "`unmask policy add`" in answer.json()["detail"]) == (422, True)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://elsewhere.example/a.jpg", "host_not_allowed"),
        ("http://cdn.example.com/a.jpg", "http_not_allowed"),
        ("ftp://cdn.example.com/a.jpg", "url_not_supported"),
        ("upload:" + "f" * 64 + ":other", "url_not_supported"),
        ("https://user@cdn.example.com/a.jpg", "url_not_supported"),
        ("https://[::1/a.jpg", "url_not_supported"),
        ("a.jpg", "path_not_allowed"),
        ("https://cdn.example.com/a\nb", "invalid"),
    ],
)
def test_a_url_that_no_worker_will_fetch_is_refused(serve: Serve, rows: Rows, url: str, code: str) -> None:
    answer = serve(allowed_hosts="cdn.example.com").post(A | {"url": url})
    assert (answer.status_code, answer.json()["type"]) == (422, f"urn:unmask:problem:{code}")
    assert rows("SELECT id FROM images") == []


def test_a_batch_gives_each_line_its_own_fate(door: Door, rows: Rows) -> None:
    door.post(A)
    lines = [
        json.dumps(A | {"image_id": "b", "lane": "backfill"}),
        "{half",
        "",
        json.dumps(A),
        json.dumps(A | {"url": "https://cdn.example.com/other.jpg"}),
        json.dumps(A | {"image_id": "c", "policy": "unknown"}),
        json.dumps(A | {"image_id": "x" * 129}),
    ]
    headers = {"Content-Type": "application/x-ndjson"}
    answer = door.ask("POST", "/v1/images:batch", data="\n".join(lines), headers=headers)
    assert answer.status_code == 200
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [(row["line"], row["status"]) for row in found] == [
        (1, 202), (2, 422), (4, 202), (5, 409), (6, 422), (7, 422),
    ]  # fmt: skip
    assert found[0]["image_id"] == "b"
    assert "image_id" in found[-1]["problem"]["detail"]
    assert rows("SELECT id, lane FROM images ORDER BY id") == [("a", "upload"), ("b", "backfill")]


def test_a_batch_of_a_thousand_is_taken_at_once_and_one_more_is_refused(door: Door, rows: Rows) -> None:
    lines = [json.dumps(A | {"image_id": f"i{number}"}) for number in range(1001)]
    headers = {"Content-Type": "application/x-ndjson"}
    answer = door.ask("POST", "/v1/images:batch", data="\n".join(lines), headers=headers)
    assert (answer.status_code, answer.json()["value"]) == (413, 1000)
    assert rows("SELECT id FROM images") == []
    answer = door.ask("POST", "/v1/images:batch", data="\n".join(lines[:1000]), headers=headers)
    assert len(answer.text.splitlines()) == len(rows("SELECT id FROM images")) == 1000
