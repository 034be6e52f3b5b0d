"""A reviewer's day: the queue, a case, a decision, second thoughts; and what is kept from whom."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import func, select

from db.errors import HeldError
from db.privacy import erasure, retention
from db.privacy.retention import RetentionSettings
from db.review import case_context, case_queue, lookalikes, reviews
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
    assert "No case matches" in browser.get("/?state=confirmed").text


@pytest.mark.parametrize("query", ["after=99999999999999999999", "after=-1", "decided=x", "batch=x,1", "policy=%00"])
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
    assert "is held by pat until" in theirs
    assert 'value="confirmed"' not in theirs
    assert pat.post(f"/cases/{first}/leave").headers["location"] == "/"
    assert 'value="confirmed"' in sam.get(f"/cases/{first}").text
    assert sam.post(f"/cases/{first}/hold").status_code == 204
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
    assert "No worker is running" in page  # b
    assert "Opened under policy default." in page
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
    answer = pat.decide(first, decision="confirmed", version=version, reason="artefacts", note=" see the ear ")
    assert answer.headers["location"] == f"/cases/{second}?decided={first}"
    assert state_of(database, first) == "confirmed"
    with database.reading() as session:
        row = session.scalars(select(Review)).one()
    assert (row.reviewer, row.decision, row.reason, row.note, row.blind) == (
        "pat", "confirmed", "artefacts", "see the ear", False,
    )  # fmt: skip
    page = pat.get(answer.headers["location"]).text
    assert f'action="/cases/{first}/undo"' in page
    last = pat.decide(second, decision="dismissed", version=version_of(database, second))
    assert last.headers["location"] == f"/?decided={second}&none=1"
    assert [what for _, what in logged()] == ["saw_photo", "decided", "viewed", "saw_photo", "decided"]


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
    answer = pat.decide(first, decision="unsure", version=version_of(database, first), policy="default")
    assert answer.headers["location"] == f"/cases/{second}?policy=default&decided={first}"


def test_a_decision_is_taken_back_by_whoever_made_it_or_by_a_lead(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    pat, sam, lee = sign_in("reviewer", "pat"), sign_in("reviewer", "sam"), sign_in("lead", "lee")
    for undoer in (pat, lee):
        pat.decide(case_id, decision="dismissed", version=version_of(database, case_id))
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
    answer = pat.decide(case_id, decision="dismissed", version=version, note="a long note")
    assert answer.status_code == 409
    assert "photo b flagged" in answer.text
    assert ">a long note</textarea>" in answer.text
    assert f'name="version" value="{version + 1}"' in answer.text, "the page as it is now"
    assert state_of(database, case_id) == "open"


@pytest.mark.parametrize("form", [{}, {"version": "x"}, {"version": "1", "decision": "guilty"}, {"version": "9" * 30}])
def test_a_form_that_says_nonsense_decides_nothing(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds, form: dict[str, str]
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    assert sign_in("reviewer").decide(case_id, **form).status_code in {400, 413}
    assert state_of(database, case_id) == "open"


def test_an_appeal_reopens_a_case_for_somebody_else(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds, logged: Logged
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    pat, sam = sign_in("reviewer", "pat"), sign_in("reviewer", "sam")
    pat.decide(case_id, decision="confirmed", version=version_of(database, case_id))
    version = version_of(database, case_id)
    assert sam.post(f"/cases/{case_id}/appeal", version=version, why=" ").status_code == 400
    assert sam.post(f"/cases/{case_id}/appeal", version=version, why="it is me").status_code == 303
    assert "another reviewer must decide it" in pat.get(f"/cases/{case_id}").text
    page = sam.get(f"/cases/{case_id}").text
    assert "it is me" in page
    assert "the answer is due" in page
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
        [lambda browser=browser: browser.decide(case_id, decision="dismissed", version=version) for browser in browsers]
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
        page = sign_in("reviewer", f"pat {share}", blind_share=share).get(f"/cases/{case_ids()[0]}").text
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
    stale = pat.decide(case_id, decision="dismissed", version=version)
    assert (stale.status_code, "0.9" in stale.text) == (409, False)
    stale = pat.post(f"/cases/{case_id}/undo", version=version)
    assert (stale.status_code, "photo b flagged" in stale.text, "0.9" in stale.text) == (409, True, False)
    pat.decide(case_id, decision="dismissed", version=version_of(database, case_id))
    with database.reading() as session:
        assert session.scalars(select(Review.blind)).all() == [True]
    assert "0.9" in pat.get(f"/cases/{case_id}").text  # what is decided is nothing to hide


def test_other_cases_with_the_same_photo_are_shown_to_whoever_does_not_decide_blind(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds, keep_picture: KeepPicture
) -> None:
    for account, photo in (("ada", "a"), (HOSTILE, "b"), ("grace", "c")):
        flag(account, photo)
        keep_picture(photo)
    first, second, third = case_ids()
    one, mirror, other = bytes(32), bytes([0] * 31 + [7]), bytes([255] * 32)
    with database.writing() as session:
        lookalikes.store_hashes(session, {"a": one + mirror, "b": mirror + one, "c": other + other})
    alike = f"/cases/{first}/alike"
    for role in ("reviewer", "auditor"):
        page = sign_in(role, role).get(alike).text
        assert f"/cases/{second}" in page
        assert f"/cases/{third}" not in page
        assert "the same photo" in page
        assert ("<img" in page) == (role == "reviewer")
    assert "No other case" in sign_in("lead", "lead").get(f"/cases/{third}/alike").text
    blind = sign_in("reviewer", "pat", blind_share=1.0).get(alike).text
    assert (f"/cases/{second}" in blind, "other cases are not shown" in blind) == (False, True)
    assert sign_in("lead", "lea").get("/cases/1000000000/alike").status_code == 404


@pytest.fixture
def alike(database: Database, flag: Flag, case_ids: CaseIds, keep_picture: KeepPicture) -> list[int]:
    """Three cases with one photo, each of another account."""
    for account, photo in (("ada", "a"), ("bea", "b"), ("cyd", "c")):
        flag(account, photo)
        keep_picture(photo)
    photo_hash = bytes(range(32))
    with database.writing() as session:
        lookalikes.store_hashes(session, dict.fromkeys("abc", photo_hash + photo_hash))
    return case_ids()


def bulk(database: Database, first: int, *others: int, **more: object) -> dict[str, object]:
    """The form of a decision about several cases, as their page would send it."""
    also = {f"also-{case_id}": version_of(database, case_id) for case_id in others}
    return {"version": version_of(database, first), "decision": "confirmed"} | also | more


def states(database: Database, case_ids: Sequence[int]) -> list[str]:
    return [state_of(database, case_id) for case_id in case_ids]


def see(browser: Any, *case_ids: int) -> None:
    for case_id in case_ids:
        browser.see(case_id)


def test_cases_of_one_photo_are_decided_together_and_undone_together(
    sign_in: Open, database: Database, alike: list[int], logged: Logged
) -> None:
    first, second, third = alike
    pat, lee = sign_in("reviewer", "pat"), sign_in("lead", "lee")
    page = pat.get(f"/cases/{first}/alike").text
    assert [f'name="also-{case_id}"' in page for case_id in alike] == [False, True, True]
    see(pat, second)
    answer = pat.decide(first, **bulk(database, first, second))
    assert states(database, alike) == ["confirmed", "confirmed", "open"]
    assert [entry for entry in logged() if entry[1] == "decided"] == [("pat", "decided")] * 2
    for browser, path in ((pat, answer.headers["location"]), (pat, f"/?decided={first}"), (lee, f"/cases/{second}")):
        page = browser.get(path).text
        assert "Undo all 2" in page
        assert f"also-{second if path != f'/cases/{second}' else first}" in page
    with_stranger = bulk(database, first, second, third)
    refused = pat.post(f"/cases/{first}/undo", **with_stranger)
    assert (refused.status_code, "not decided together" in refused.text) == (409, True)
    assert pat.post(f"/cases/{first}/undo", **bulk(database, first, second)).status_code == 303
    assert states(database, alike) == ["open"] * 3


def test_one_of_a_batch_can_be_undone_alone(sign_in: Open, database: Database, alike: list[int]) -> None:
    first, second, third = alike
    pat = sign_in("reviewer", "pat")
    see(pat, second, third)
    pat.decide(first, **bulk(database, first, second, third))
    pat.post(f"/cases/{second}/undo", **bulk(database, second, first, third, only="1"))
    assert states(database, alike) == ["confirmed", "open", "confirmed"]
    assert "Undo all 2" in pat.get(f"/cases/{first}").text, "what is left of it"


def test_one_of_them_that_cannot_be_decided_stops_them_all_and_no_tick_or_note_is_lost(
    sign_in: Open, database: Database, alike: list[int]
) -> None:
    first, second, third = alike
    pat, sam = sign_in("reviewer", "pat"), sign_in("reviewer", "sam")
    form = bulk(database, first, second, third, note="a long note", reason="artefacts")
    unseen = pat.decide(first, **form)
    assert f"No photo of case {second} has been on your screen" in unseen.text
    see(pat, second, third)
    sam.post(f"/cases/{third}/hold")
    refused = pat.decide(first, **form)
    assert "is held by sam until" in refused.text
    assert ">a long note</textarea>" in refused.text
    assert "<option selected>artefacts" in refused.text
    ticks = re.search(r'hx-get="(/cases/\d+/alike\?[^"]+)"', refused.text)
    assert ticks is not None
    copies = pat.get(ticks[1].replace("&amp;", "&")).text
    assert [copies.count(" checked>"), "is held by sam until" in copies] == [1, True]
    sam.post(f"/cases/{third}/leave")
    assert "has changed" in pat.decide(first, **form | {f"also-{third}": 99}).text
    assert pat.decide(first, **form | {"decision": "nonsense"}).status_code == 400
    blind = sign_in("reviewer", "bob", blind_share=1.0)
    see(blind, second, third)
    assert "decide blind: decide it separately" in blind.decide(first, **form).text
    assert 'name="also-' not in sign_in("auditor", "cyn").get(f"/cases/{first}/alike").text
    assert states(database, alike) == ["open"] * 3


def test_a_case_with_another_photo_is_not_decided_along(
    sign_in: Open, database: Database, alike: list[int], flag: Flag, case_ids: CaseIds
) -> None:
    flag("dan", "d")
    first, second, _, stranger = case_ids()
    pat = sign_in("reviewer", "pat")
    see(pat, second, stranger)
    answer = pat.decide(first, **bulk(database, first, second, stranger))
    assert (answer.status_code, f"Case {stranger} has no copy of these photos" in answer.text) == (409, True)
    assert states(database, (*alike, stranger)) == ["open"] * 4


def test_looking_takes_a_case_from_nobody_and_working_on_it_does(
    sign_in: Open, flag: Flag, case_ids: CaseIds, logged: Logged
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    pat, sam = sign_in("reviewer", "pat"), sign_in("reviewer", "sam")
    for browser in (pat, sam, pat):
        assert 'value="confirmed"' in browser.get(f"/cases/{case_id}").text
    assert pat.post(f"/cases/{case_id}/hold").status_code == 204
    assert pat.post(f"/cases/{case_id}/hold").status_code == 204
    assert logged().count(("pat", "took")) == 1
    refused = sam.post(f"/cases/{case_id}/hold")
    assert (refused.status_code, "is held by pat until" in refused.text) == (409, True)
    assert 'value="confirmed"' not in sam.get(f"/cases/{case_id}").text


@pytest.mark.parametrize(("decision", "status"), [("confirmed", 409), ("dismissed", 409), ("unsure", 303)])
def test_whoever_says_what_a_photo_is_has_had_it_on_the_screen(
    sign_in: Open,
    database: Database,
    flag: Flag,
    case_ids: CaseIds,
    keep_picture: KeepPicture,
    decision: str,
    status: int,
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    keep_picture("a")
    pat, form = sign_in("reviewer", "pat"), {"decision": decision, "version": version_of(database, case_id)}
    photo = photo_path(pat.get(f"/cases/{case_id}").text)
    pat.get(f"{photo}?ahead=1")  # what is fetched ahead has not been seen
    assert pat.post(f"/cases/{case_id}/decide", note="my note", **form).status_code == status
    if status == 409:
        refused = pat.post(f"/cases/{case_id}/decide", note="my note", **form).text
        assert f"No photo of case {case_id} has been on your screen" in refused
        assert ">my note</textarea>" in refused
        assert pat.get(photo).status_code == 200
        assert pat.post(f"/cases/{case_id}/decide", **form).status_code == 303


def test_a_case_that_was_seen_with_scores_is_never_blind_again(
    sign_in: Open, database: Database, flag: Flag, case_ids: CaseIds
) -> None:
    flag("ada", "a")
    (case_id,) = case_ids()
    pat = sign_in("reviewer", "pat", blind_share=1.0)
    pat.decide(case_id, decision="dismissed", version=version_of(database, case_id))
    assert "0.9" not in pat.get("/?state=dismissed").text, "a list tells no score that the case's page has not shown"
    pat.post(f"/cases/{case_id}/undo", version=version_of(database, case_id))
    assert "decide this case blind" in pat.get(f"/cases/{case_id}").text, "an undo alone shows nothing"
    pat.decide(case_id, decision="dismissed", version=version_of(database, case_id))
    assert "0.9" in pat.get(f"/cases/{case_id}").text
    pat.post(f"/cases/{case_id}/undo", version=version_of(database, case_id))
    assert "0.9" in pat.get(f"/cases/{case_id}").text, "whoever has seen the score need not be kept from it"
    pat.decide(case_id, decision="dismissed", version=version_of(database, case_id))
    with database.reading() as session:
        decided = select(Review.blind).where(Review.decision == "dismissed").order_by(Review.id)
        assert session.scalars(decided).all() == [True, True, False]


def test_no_order_by_score_tells_the_place_of_a_case_that_is_decided_blind(
    sign_in: Open, flag: Flag, case_ids: CaseIds
) -> None:
    for number in range(3):
        flag(f"account {number}", f"p{number}")
    pat = sign_in("reviewer", "pat", blind_share=1.0)
    assert "account" not in pat.get("/?order=score").text.split("<tbody>")[-1].split("</table>")[0].lower()
    assert pat.post("/next", order="score").headers["location"] == f"/cases/{case_ids()[0]}?order=score", "by age"


def test_comments_facts_and_links_stand_beside_the_case_and_are_never_markup(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds, logged: Logged
) -> None:
    account = "a/b?c=<d>"
    flag(account, "a")
    (case_id,) = case_ids()
    with database.writing() as session:
        case_context.set_facts(session, account, {"Reports": 2, HOSTILE: HOSTILE, "Known": True, "Tags": ["x"]})
    pat = sign_in("reviewer", "pat", console_profile_url="https://example.com/u/{account}?case={case}")
    assert pat.post(f"/cases/{case_id}/comment", comment=HOSTILE).status_code == 303
    assert pat.post(f"/cases/{case_id}/comment", comment="  ").status_code == 400
    page = pat.get(f"/cases/{case_id}").text
    assert f'href="https://example.com/u/a%2Fb%3Fc%3D%3Cd%3E?case={case_id}"' in page
    assert 'rel="noopener noreferrer"' in page
    assert re.search(r'<th scope="row" class="long">Reports</th><td class="long">2</td>', page)
    assert "<script>alert" not in page
    assert ("pat", "commented") in logged()
    assert "see the ear" not in page
    erasure.erase_account(database, account)
    page = sign_in("lead", "lee").get(f"/cases/{case_id}").text
    assert [word in page for word in ("alert(1)", "Reports", "example.com")] == [False] * 3
    assert "erased with the account" in page


def test_a_restricted_case_is_for_leads_alone(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds, keep_picture: KeepPicture, logged: Logged
) -> None:
    flag("ada", "a")
    keep_picture("a")
    (case_id,) = case_ids()
    pat, lee = sign_in("reviewer", "pat"), sign_in("lead", "lee")
    photo = photo_path(pat.get(f"/cases/{case_id}").text)
    assert pat.post(f"/cases/{case_id}/restrict", reason="nonsense").status_code == 400
    assert pat.post(f"/cases/{case_id}/restrict", reason="minor").status_code == 303
    page = pat.get(f"/cases/{case_id}").text
    assert "shows a minor: only a lead sees its pictures and decides it" in page
    assert [word in page for word in ('<img src="/cases', 'value="confirmed"')] == [False, False]
    assert pat.get(photo).status_code == 403
    assert pat.post("/next").headers["location"] == "/?none=1"
    form = {"decision": "dismissed", "version": version_of(database, case_id)}
    assert pat.decide(case_id, **form).status_code == 403
    assert pat.post(f"/cases/{case_id}/restrict").status_code == 403
    assert f"/cases/{case_id}" in lee.get("/restricted").text
    assert lee.get(photo).status_code == 200
    assert "Restricted to leads: shows a minor." in lee.get(f"/cases/{case_id}").text
    assert lee.post(f"/cases/{case_id}/restrict").status_code == 303
    assert pat.get(photo).status_code == 200
    assert logged().count(("pat", "restricted")) == 1


def test_leaving_the_queue_releases_also_what_was_fetched_ahead(
    sign_in: Open, flag: Flag, case_ids: CaseIds, keep_picture: KeepPicture
) -> None:
    for name in "ab":
        flag(name, name)
        keep_picture(name)
    first, second = case_ids()
    pat, sam = sign_in("reviewer", "pat"), sign_in("reviewer", "sam")
    pat.post("/next")
    ahead = pat.post(f"/cases/{first}/ahead").text
    assert f"/cases/{second}/photos/" in ahead
    pat.post(f"/cases/{first}/leave")
    assert sam.post(f"/cases/{second}/hold").status_code == 204


def test_what_was_fetched_ahead_is_seen_once_the_browser_says_so(
    sign_in: Open, flag: Flag, case_ids: CaseIds, keep_picture: KeepPicture, logged: Logged
) -> None:
    flag("ada", "a")
    keep_picture("a")
    pat = sign_in("reviewer", "pat")
    photo = photo_path(pat.get(f"/cases/{case_ids()[0]}").text)
    pat.get(f"{photo}?ahead=1")
    assert ("pat", "prefetched_photo") in logged()
    assert ("pat", "saw_photo") not in logged()
    assert pat.post(photo.removesuffix("/photo") + "/seen").status_code == 204
    assert ("pat", "saw_photo") in logged()


def test_the_accounts_other_photos_are_there_to_compare_and_nobody_elses(
    sign_in: Open, flag: Flag, case_ids: CaseIds, keep_picture: KeepPicture, add_images: Callable[..., list[str]]
) -> None:
    flag("ada", "a")
    add_images("other & more", account_id="ada")
    add_images("stranger", account_id="bob")
    keep_picture("other & more")
    keep_picture("stranger")
    (case_id,) = case_ids()
    pat = sign_in("reviewer", "pat")
    page = pat.get(f"/cases/{case_id}/others").text
    assert f'src="/cases/{case_id}/other?image=other+%26+more"' in page
    assert pat.get(f"/cases/{case_id}/other?image=other+%26+more").status_code == 200
    for image in ("stranger", "a", "", "nothing"):
        assert pat.get(f"/cases/{case_id}/other?image={image}").status_code == 404


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
    assert 'src="/cases' not in page
    assert 'name="decision"' not in page
    assert "flagged: model" in page.lower()
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
    assert sorted(asked) == [("heatmap", "a", "pat"), ("original", "a", "pat"), ("preview", "a", "pat")]
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
        request = session.scalars(select(Request).where(Request.kind == "preview")).one()
        request.state, request.reason, request.detail = "failed", "not_found", HOSTILE
    page = pat.get(f"/cases/{case_id}").text
    assert "This picture could not be made" in page
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
    retention.apply_retention(database, RetentionSettings(keep_pictures_days=1e-9))
    assert "Deleted: its retention time has passed" in pat.get(f"/cases/{case_id}").text
    assert pat.get(photo).status_code == 404
    erasure.erase_account(database, "ada")
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
    assert f'data-photo="/cases/{second}/photos/' in pat.post(f"/cases/{first}/ahead").text
    assert ("pat", "prefetched") in logged()
    assert sam.post("/next").headers["location"] == f"/cases/{third}"
    answer = pat.decide(first, decision="unsure", version=version_of(database, first))
    assert answer.headers["location"].startswith(f"/cases/{second}?")


def test_nothing_that_anybody_wrote_is_ever_markup(
    database: Database, sign_in: Open, flag: Flag, case_ids: CaseIds
) -> None:
    name = HOSTILE[:128]
    flag(name, name)
    (case_id,) = case_ids()
    lead, second = sign_in("lead", name), sign_in("reviewer", "sam")
    lead.decide(case_id, decision="confirmed", version=version_of(database, case_id), note=HOSTILE)
    lead.post(f"/cases/{case_id}/appeal", version=version_of(database, case_id), why=HOSTILE)
    stale = second.decide(case_id, decision="confirmed", version=1, note=HOSTILE)
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
        case_queue.acquire_case(session, case_id, "terminal", 600)
    answer = sign_in("reviewer", "pat").decide(case_id, decision="dismissed", version=version_of(database, case_id))
    assert (answer.status_code, "is held by terminal until" in answer.text) == (409, True)
    with pytest.raises(HeldError), database.writing() as session:
        reviews.decide_case(session, Decision(case_id, version_of(database, case_id), "pat", "dismissed"))
