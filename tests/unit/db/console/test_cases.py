"""A reviewer's day: the queue, a case, a decision, second thoughts; and what is kept from whom."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import func, select

from db.privacy import accounts, retention
from db.review import lookalikes, queue, reviews
from db.errors import HeldError
from db.privacy.retention import RetentionSettings
from db.review.reviews import Decision
from db.schema import Case, Request, Review
from db.store.session import Database

Open = Callable[..., Any]
Flag = Callable[..., None]
CaseIds = Callable[[], list[int]]
Logged = Callable[[], list[tuple[str, str]]]
KeepPicture = Callable[..., None]
#: What breaks out of texts, attributes and addresses where they are not escaped.
HOSTILE = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>{{111111*111111}}&lt;"


def version_of(database: Database, case_id: int) -> int:
    with database.reading() as session:
        return session.get_one(Case, case_id).version


def state_of(database: Database, case_id: int) -> str:
    with database.reading() as session:
        return session.get_one(Case, case_id).state


def photo_path(page: str, kind: str = "photo") -> str:
    """Where the page's first photo is."""
    found = re.search(rf"/cases/\d+/photos/\d+/{kind}", page)
    assert found is not None
    return found[0]


def test_the_queue_says_what_waits_and_lists_it_a_page_at_a_time(sign_in: Open, flag: Flag, case_ids: CaseIds) -> None:
    for number in range(5):
        flag(f"account {number}", f"p{number}")
    browser = sign_in("reviewer")
    first = browser.get("/").text
    assert "<strong>5</strong> open" in first
    assert [f"account {number}" in first for number in range(5)] == [True, True, True, False, False]
    following = re.search(r'href="(/\?[^"]*after=\d+)"', first)
    assert following is not None
    second = browser.get(following[1].replace("&amp;", "&")).text
    assert [f"account {number}" in second for number in range(5)] == [False, False, False, True, True]
    assert f"/cases/{case_ids()[4]}" in browser.get("/?account=account+4").text
    assert "account 1" not in browser.get("/?account=account+4").text
    assert "Nothing waits here" in browser.get("/?state=confirmed").text


@pytest.mark.parametrize(
    "query", ["after=99999999999999999999", "after=-1", "state=x&order=x", "decided=x", "policy=%00"]
)
def test_an_address_that_somebody_made_up_shows_a_page_all_the_same(sign_in: Open, flag: Flag, query: str) -> None:
    flag("ada", "a")
    assert sign_in("reviewer").get(f"/?{query}").status_code == 200


def test_the_next_case_is_kept_for_whoever_asked_and_the_other_gets_another(
    sign_in: Open, flag: Flag, case_ids: CaseIds
) -> None:
    flag("ada", "a")
    flag("bea", "b")
    first, second = case_ids()
    pat, sam = sign_in("reviewer", "pat"), sign_in("reviewer", "sam")
    assert pat.post("/next").headers["location"] == f"/cases/{first}"
    assert sam.post("/next").headers["location"] == f"/cases/{second}"
    theirs = sam.get(f"/cases/{first}").text
    assert "is with pat until" in theirs
    assert 'value="confirmed"' not in theirs
    assert pat.post(f"/cases/{first}/leave").headers["location"] == "/"
    assert 'value="confirmed"' in sam.get(f"/cases/{first}").text
    assert pat.post("/next").headers["location"] == "/?none=1"
    assert "No case is free for you now" in pat.get("/?none=1").text


def test_a_case_shows_each_photo_on_its_scale_and_everything_that_happened(
    sign_in: Open, flag: Flag, case_ids: CaseIds, keep_picture: KeepPicture
) -> None:
    flag("ada", "a", "b")
    keep_picture("a")
    page = sign_in("reviewer").get(f"/cases/{case_ids()[0]}").text
    assert page.count('<svg class="scale"') == 2
    assert "Score 0.9000 · threshold 0.5000 · model" in page
    assert "A worker is making it" in page  # b
    assert "opened under policy default" in page
    assert "2 photos since" in page


def test_decisions_close_cases_and_lead_to_the_next_until_there_is_none(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds, logged: Logged
) -> None:
    flag("ada", "a")
    flag("bea", "b")
    first, second = case_ids()
    pat = sign_in("reviewer", "pat")
    pat.post("/next")
    version = version_of(database, first)
    answer = pat.post(
        f"/cases/{first}/decide", decision="confirmed", version=version, reason="artefacts", note=" see the ear "
    )
    assert answer.headers["location"] == f"/cases/{second}?decided={first}"
    assert state_of(database, first) == "confirmed"
    with database.reading() as session:
        row = session.scalars(select(Review)).one()
    assert (row.reviewer, row.decision, row.reason, row.note, row.blind) == (
        "pat", "confirmed", "artefacts", "see the ear", False,
    )  # fmt: skip
    page = pat.get(answer.headers["location"]).text
    assert f'action="/cases/{first}/undo"' in page
    last = pat.post(f"/cases/{second}/decide", decision="dismissed", version=version_of(database, second))
    assert last.headers["location"] == f"/?decided={second}&none=1"
    assert [what for _, what in logged()] == ["decided", "viewed", "decided"]


def test_the_choice_of_a_policy_goes_with_the_reviewer_from_case_to_case(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds
) -> None:
    flag("ada", "a")
    flag("bea", "b")
    first, second = case_ids()
    pat = sign_in("reviewer", "pat")
    assert pat.post("/next", policy="other", order="score").headers["location"] == "/?policy=other&order=score&none=1"
    page = pat.get(f"/cases/{first}?policy=default&order=score").text
    assert '<input type="hidden" name="order" value="score">' in page
    answer = pat.post(
        f"/cases/{first}/decide", decision="unsure", version=version_of(database, first), policy="default"
    )
    assert answer.headers["location"] == f"/cases/{second}?policy=default&decided={first}"


def test_a_decision_is_taken_back_by_whoever_made_it_or_by_a_lead(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    pat, sam, lee = sign_in("reviewer", "pat"), sign_in("reviewer", "sam"), sign_in("lead", "lee")
    for undoer in (pat, lee):
        pat.post(f"/cases/{case_id}/decide", decision="dismissed", version=version_of(database, case_id))
        version = version_of(database, case_id)
        assert sam.post(f"/cases/{case_id}/undo", version=version).status_code == 409
        assert f'action="/cases/{case_id}/undo"' not in sam.get(f"/cases/{case_id}").text
        assert f'action="/cases/{case_id}/undo"' in undoer.get(f"/cases/{case_id}").text
        assert undoer.post(f"/cases/{case_id}/undo", version=version).status_code == 303
        assert state_of(database, case_id) == "open"
    with database.reading() as session:
        assert session.scalar(select(func.count(Review.id))) == 4


def test_a_stale_page_overwrites_nothing_says_what_changed_and_keeps_the_note(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    pat, version = sign_in("reviewer", "pat"), version_of(database, case_id)
    pat.get(f"/cases/{case_id}")
    flag("ada", "b")
    answer = pat.post(f"/cases/{case_id}/decide", decision="dismissed", version=version, note="a long note")
    assert answer.status_code == 409
    assert "photo b flagged" in answer.text
    assert "a long note" in answer.text
    assert f'href="/cases/{case_id}"' in answer.text
    assert state_of(database, case_id) == "open"


@pytest.mark.parametrize("form", [{}, {"version": "x"}, {"version": "1", "decision": "guilty"}, {"version": "9" * 30}])
def test_a_form_that_says_nonsense_decides_nothing(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds, form: dict[str, str]
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    assert sign_in("reviewer").post(f"/cases/{case_id}/decide", **form).status_code in {400, 413}
    assert state_of(database, case_id) == "open"


def test_an_appeal_reopens_a_case_for_somebody_else(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds, logged: Logged
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    pat, sam = sign_in("reviewer", "pat"), sign_in("reviewer", "sam")
    pat.post(f"/cases/{case_id}/decide", decision="confirmed", version=version_of(database, case_id))
    version = version_of(database, case_id)
    assert sam.post(f"/cases/{case_id}/appeal", version=version, reason=" ").status_code == 400
    assert sam.post(f"/cases/{case_id}/appeal", version=version, reason="it is me").status_code == 303
    assert "somebody else decides it now" in pat.get(f"/cases/{case_id}").text
    page = sam.get(f"/cases/{case_id}").text
    assert "appealed: it is me" in page
    assert 'value="confirmed"' in page
    assert ("sam", "appealed") in logged()


def test_of_two_who_decide_at_once_one_does(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds, at_once: Callable[[Sequence[Any]], list[Any]]
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    version = version_of(database, case_id)
    browsers = [sign_in("reviewer", name) for name in ("pat", "sam")]
    said = at_once(
        [
            lambda browser=browser: browser.post(f"/cases/{case_id}/decide", decision="dismissed", version=version)
            for browser in browsers
        ]
    )
    assert sorted(answer.status_code for answer in said) == [303, 409]
    with database.reading() as session:
        assert session.scalar(select(func.count(Review.id))) == 1


def test_whoever_decides_blind_sees_photos_in_the_order_of_their_flags(
    sign_in: Open, flag: Flag, add_images: Callable[..., list[str]], record: Callable[..., list[str]], case_ids: CaseIds
) -> None:
    flag("ada", "first")
    add_images("second", account_id="ada")
    record({"second": 0.99})

    def shown(share: float) -> list[int]:
        page = sign_in("reviewer", "pat", blind_share=share).get(f"/cases/{case_ids()[0]}").text
        return list(dict.fromkeys(map(int, re.findall(r"/photos/(\d+)/", page))))

    assert len(shown(0.0)) == 2
    assert shown(1.0) == sorted(shown(0.0))
    assert shown(0.0) == sorted(shown(1.0), reverse=True)


def test_whoever_decides_blind_learns_no_score_and_gets_no_heatmap(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds, keep_picture: KeepPicture
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    keep_picture("a")
    keep_picture("a", "heatmap")
    pat, version = sign_in("reviewer", "pat", blind_share=1.0), version_of(database, case_id)
    for path in ("/", f"/cases/{case_id}"):
        page = pat.get(path).text
        assert "blind" in page
        assert "0.9" not in page
    photo = photo_path(page)
    assert pat.get(photo).status_code == 200
    assert pat.get(photo.replace("/photo", "/heatmap").replace("/heatmaps", "/photos")).status_code == 403
    flag("ada", "b")
    stale = pat.post(f"/cases/{case_id}/decide", decision="dismissed", version=version)
    assert (stale.status_code, "0.9" in stale.text) == (409, False)
    stale = pat.post(f"/cases/{case_id}/undo", version=version)
    assert (stale.status_code, "photo b flagged" in stale.text, "0.9" in stale.text) == (409, True, False)
    pat.post(f"/cases/{case_id}/decide", decision="dismissed", version=version_of(database, case_id))
    with database.reading() as session:
        assert session.scalars(select(Review.blind)).all() == [True]
    assert "0.9" in pat.get(f"/cases/{case_id}").text  # what is decided is nothing to hide


def test_other_cases_with_the_same_face_are_named_to_whoever_does_not_decide_blind(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds
) -> None:
    for account, photo in (("ada", "a"), (HOSTILE, "b"), ("grace", "c")):
        flag(account, photo)
    first, second, third = case_ids()
    face, mirror, other = bytes(32), bytes([0] * 31 + [7]), bytes([255] * 32)
    with database.writing() as session:
        lookalikes.keep(session, {"a": face + mirror, "b": mirror + face, "c": other + other})
    alike = f"/cases/{first}/alike"
    for role in ("reviewer", "auditor"):
        page = sign_in(role, role).get(alike).text
        assert f"/cases/{second}" in page
        assert f"/cases/{third}" not in page
        assert "0 of 256 bits differ" in page
        assert "<img" not in page
    assert "No other case" in sign_in("lead", "lead").get(f"/cases/{third}/alike").text
    blind = sign_in("reviewer", "pat", blind_share=1.0).get(alike).text
    assert (f"/cases/{second}" in blind, "without knowing" in blind) == (False, True)
    assert sign_in("lead", "lea").get("/cases/1000000000/alike").status_code == 404


@pytest.fixture
def alike(database: Database, flag: Flag, case_ids: CaseIds) -> list[int]:
    """Three cases with one face, each of another account."""
    for account, photo in (("ada", "a"), ("bea", "b"), ("cyd", "c")):
        flag(account, photo)
    face = bytes(range(32))
    with database.writing() as session:
        lookalikes.keep(session, dict.fromkeys("abc", face + face))
    return case_ids()


def bulk(database: Database, first: int, *others: int, **more: object) -> dict[str, object]:
    """The form of a decision about several cases, as their pages would send it."""
    also = {f"also-{case_id}": version_of(database, case_id) for case_id in others}
    form = {"version": version_of(database, first), "decision": "confirmed", "count": 1 + len(others)}
    return form | also | more


def test_cases_of_one_face_are_decided_together_once_their_number_is_repeated(
    sign_in: Open, database: Database, alike: list[int], logged: Logged
) -> None:
    first, second, third = alike
    pat = sign_in("reviewer", "pat")
    page = pat.get(f"/cases/{first}/alike").text
    assert [f'name="also-{case_id}"' in page for case_id in alike] == [False, True, True]
    path = f"/cases/{first}/decide-alike"
    assert pat.post(path, **bulk(database, first, second, third, count=2)).status_code == 409
    assert [state_of(database, case_id) for case_id in alike] == ["open"] * 3
    assert pat.post(path, **bulk(database, first, second)).status_code == 303
    assert [state_of(database, case_id) for case_id in alike] == ["confirmed", "confirmed", "open"]
    assert [entry for entry in logged() if entry[1] == "decided"] == [("pat", "decided")] * 2
    assert 'name="also-' not in pat.get(f"/cases/{first}/alike").text, "what is decided is decided"


def test_one_of_them_that_cannot_be_decided_stops_them_all(sign_in: Open, database: Database, alike: list[int]) -> None:
    first, second, third = alike
    pat, sam = sign_in("reviewer", "pat"), sign_in("reviewer", "sam")
    path = f"/cases/{first}/decide-alike"
    form = bulk(database, first, second, third)
    sam.get(f"/cases/{third}")
    assert "is with sam until" in pat.post(path, **form).text
    sam.post(f"/cases/{third}/leave")
    assert "has changed" in pat.post(path, **form | {f"also-{third}": 99}).text
    assert pat.post(path, **form | {"decision": "nonsense"}).status_code == 400
    blind = sign_in("reviewer", "pat", blind_share=1.0)
    assert "blind, and by itself" in blind.post(path, **form).text
    assert 'name="also-' not in sign_in("auditor", "cyn").get(f"/cases/{first}/alike").text
    assert [state_of(database, case_id) for case_id in alike] == ["open"] * 3


def test_a_case_with_another_face_is_not_decided_along(
    sign_in: Open, database: Database, alike: list[int], flag: Flag, case_ids: CaseIds
) -> None:
    flag("dan", "d")
    first, second, _, stranger = case_ids()
    answer = sign_in("reviewer", "pat").post(f"/cases/{first}/decide-alike", **bulk(database, first, second, stranger))
    assert (answer.status_code, f"case {stranger} shows another face" in answer.text) == (409, True)
    assert [state_of(database, case_id) for case_id in (*alike, stranger)] == ["open"] * 4


def test_pictures_are_for_those_who_decide_and_kept_by_nobody(
    sign_in: Open, flag: Flag, case_ids: CaseIds, keep_picture: KeepPicture, logged: Logged
) -> None:
    flag("ada", "a")
    keep_picture("a")
    (case_id,) = case_ids()
    pat, cyn = sign_in("reviewer", "pat"), sign_in("auditor", "cyn")
    photo = photo_path(pat.get(f"/cases/{case_id}").text)
    answer = pat.get(photo)
    assert (answer.status_code, answer.headers["content-type"], answer.headers["cache-control"]) == (
        200, "image/jpeg", "no-store",
    )  # fmt: skip
    assert answer.headers["x-content-type-options"] == "nosniff"
    page = cyn.get(f"/cases/{case_id}").text
    assert "<img" not in page
    assert 'name="decision"' not in page
    assert "flagged: model" in page
    for path in (photo, f"{photo}/box"):
        assert cyn.get(path).status_code == 403
    assert [entry for entry in logged() if entry[1] == "saw_photo"] == [("pat", "saw_photo")]


def test_a_photo_of_another_case_is_not_found_by_this_ones_address(
    sign_in: Open, flag: Flag, case_ids: CaseIds, keep_picture: KeepPicture
) -> None:
    flag("ada", "a")
    flag("bea", "b")
    keep_picture("a")
    first, second = case_ids()
    pat = sign_in("reviewer", "pat")
    photo = photo_path(pat.get(f"/cases/{first}").text)
    assert pat.get(photo.replace(f"/cases/{first}/", f"/cases/{second}/")).status_code == 404


def test_pictures_that_are_missing_are_asked_for_once(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds, keep_picture: KeepPicture
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    pat = sign_in("reviewer", "pat")
    for _ in range(2):
        page = pat.get(f"/cases/{case_id}").text
    heatmap = photo_path(page).replace("/photo", "/heatmap").replace("/heatmaps", "/photos")
    for _ in range(2):
        assert pat.post(heatmap).status_code == 303
    with database.reading() as session:
        asked = session.execute(select(Request.kind, Request.image_id, Request.author)).all()
    assert sorted(asked) == [("heatmap", "a", "pat"), ("preview", "a", "pat")]
    assert 'hx-trigger="every 2s"' in pat.get(f"{heatmap}/box").text
    keep_picture("a", "heatmap")
    assert f'<img src="{heatmap}"' in pat.get(f"{heatmap}/box").text


def test_a_picture_that_could_not_be_made_says_why_and_is_asked_for_again(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    pat = sign_in("reviewer", "pat")
    photo = photo_path(pat.get(f"/cases/{case_id}").text + f"/cases/{case_id}/photos/1/photo")
    with database.writing() as session:
        request = session.scalars(select(Request)).one()
        request.state, request.reason, request.detail = "failed", "not_found", HOSTILE
    page = pat.get(f"/cases/{case_id}").text
    assert "It could not be made" in page
    assert "<script>alert" not in page
    assert "Try again" in page
    assert pat.get(photo).status_code == 404


def test_what_retention_deleted_is_visibly_gone(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds, keep_picture: KeepPicture
) -> None:
    flag("ada", "a")
    keep_picture("a")
    (case_id,) = case_ids()
    pat = sign_in("reviewer", "pat")
    photo = photo_path(pat.get(f"/cases/{case_id}").text)
    retention.run(database, RetentionSettings(keep_pictures_days=1e-9))
    assert "Gone: it was deleted" in pat.get(f"/cases/{case_id}").text
    assert pat.get(photo).status_code == 404
    accounts.forget(database, "ada")
    page = pat.get(f"/cases/{case_id}").text
    assert "erased account" in page
    assert ">ada<" not in page


def test_the_next_cases_photos_come_ahead_and_the_case_is_kept_with_them(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds, keep_picture: KeepPicture, logged: Logged
) -> None:
    for name in "abc":
        flag(name, name)
        keep_picture(name)
    first, second, third = case_ids()
    pat, sam = sign_in("reviewer", "pat"), sign_in("reviewer", "sam")
    pat.post("/next")
    assert f'<img src="/cases/{second}/photos/' in pat.post(f"/cases/{first}/ahead").text
    assert ("pat", "prefetched") in logged()
    assert sam.post("/next").headers["location"] == f"/cases/{third}"
    answer = pat.post(f"/cases/{first}/decide", decision="unsure", version=version_of(database, first))
    assert answer.headers["location"].startswith(f"/cases/{second}?")


def test_nothing_that_anybody_wrote_is_ever_markup(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds
) -> None:
    name = HOSTILE[:128]
    flag(name, name)
    (case_id,) = case_ids()
    lead, second = sign_in("lead", name), sign_in("reviewer", "sam")
    lead.post(f"/cases/{case_id}/decide", decision="confirmed", version=version_of(database, case_id), note=HOSTILE)
    lead.post(f"/cases/{case_id}/appeal", version=version_of(database, case_id), reason=HOSTILE)
    stale = second.post(f"/cases/{case_id}/decide", decision="confirmed", version=1, note=HOSTILE)
    pages = [stale, second.post("/sign-in", name=HOSTILE, next=HOSTILE)]
    pages += [
        lead.get(path)
        for path in (
            "/", f"/cases/{case_id}", "/audit", "/people", "/password", "/?state=confirmed",
            f"/?account={HOSTILE}", f"/?policy={HOSTILE}", f"/audit?who={HOSTILE}&what={HOSTILE}",
            f"/look?back=/{HOSTILE}", f"/sign-in?next=/{HOSTILE}", f"/{HOSTILE}",
        )
    ]  # fmt: skip
    for answer in pages:
        found = re.findall(r"<img src=x|<script>|\"'>|12345654321", answer.text)
        assert found == [], answer.url
    assert lead.get(f"/cases/{case_id}").text.count("&lt;script&gt;") >= 3


def test_a_case_that_is_with_somebody_else_is_not_taken(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    with database.writing() as session:
        queue.hold(session, case_id, "terminal", 600)
    answer = sign_in("reviewer", "pat").post(
        f"/cases/{case_id}/decide", decision="dismissed", version=version_of(database, case_id)
    )
    assert (answer.status_code, "is with terminal until" in answer.text) == (409, True)
    with pytest.raises(HeldError), database.writing() as session:
        reviews.decide(session, Decision(case_id, version_of(database, case_id), "pat", "dismissed"))
