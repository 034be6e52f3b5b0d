"""The queue of a team: what comes first and why, filters that lie in the URL, views, search, and the batch."""

import html
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from db.queue import ranking, targets
from db.review import reviews
from db.review.reviews import Decision
from db.schema import AuditEntry, Case, PerceptualHash, SavedView
from db.schema.clock import moment
from db.stats.calibration import Calibration
from db.store.session import Database

Open = Callable[..., Any]
OpenCase = Callable[..., int]
Logged = Callable[[], list[tuple[str, str]]]

pytestmark = pytest.mark.both  # databases can differ here: orders, intervals, letter case


def listed(page: str) -> list[int]:
    """The cases on a page, in its order."""
    return [int(found) for found in re.findall(r'<td data-label="Case"><a href="/cases/(\d+)">', page)]


def rank(database: Database, chance: Callable[[float], float] = lambda score: score) -> None:
    """As a worker does."""
    with database.writing() as session:
        ranking.rank_new(session, Calibration(chance), 1000)
        ranking.rank_urgent(session, Calibration(chance), 1000)


def age(database: Database, case_id: int, days: float) -> None:
    with database.writing() as session:
        session.execute(update(Case).where(Case.id == case_id).values(created_at=moment(-86_400 * days)))


def decide(database: Database, case_id: int, reviewer: str, decision: str) -> None:
    with database.writing() as session:
        version = session.get_one(Case, case_id).version
        reviews.decide_case(session, Decision(case_id, version, reviewer, decision))


def appeal(database: Database, case_id: int) -> None:
    with database.writing() as session:
        version = session.get_one(Case, case_id).version
        reviews.appeal_decision(session, case_id, version, "cyn", "a real person")


def ticks(*case_ids: int, version: int = 1) -> dict[str, object]:
    return {f"case-{case_id}": version for case_id in case_ids}


def see(database: Database, who: str, *case_ids: int) -> None:
    """As the pictures of a page are logged."""
    with database.writing() as session:
        session.add_all(AuditEntry(who=who, what="saw_photo", case_id=case_id) for case_id in case_ids)


def test_the_likelier_and_the_older_come_first_and_a_day_counts_as_twice_the_chance(
    database: Database, sign_in: Open, open_case: OpenCase
) -> None:
    likely, unlikely, old = open_case("a", 0.98), open_case("b", 0.6), open_case("c", 0.6)
    age(database, old, 1.5)
    rank(database)
    browser = sign_in("auditor", console_rows=10)
    assert listed(browser.get("/").text) == [old, likely, unlikely]
    assert listed(browser.get("/?order=score").text) == [likely, old, unlikely]
    assert listed(browser.get("/?order=age").text) == [old, likely, unlikely]


def test_accounts_that_share_a_photo_raise_each_others_cases(
    database: Database, sign_in: Open, open_case: OpenCase
) -> None:
    alone, one, other = open_case("a", 0.95), open_case("b", 0.9), open_case("c", 0.9)
    with database.writing() as session:
        session.add(PerceptualHash(image_id="b-1", hash=b"x", mirrored=b"y"))
        session.add(PerceptualHash(image_id="c-1", hash=b"y", mirrored=b"x"))  # the mirror image
    rank(database)
    found = listed(sign_in("auditor").get("/").text)
    assert (set(found[:2]), found[2]) == ({one, other}, alone)
    with database.reading() as session:
        assert session.scalars(select(Case.sharing).order_by(Case.id)).all() == [1, 2, 2]


def test_appeals_and_what_is_about_to_miss_its_target_time_come_first_and_are_marked(
    database: Database, sign_in: Open, open_case: OpenCase, vip: str
) -> None:
    fresh, appealed, late = open_case("a", 0.99), open_case("b", 0.6), open_case("c", 0.6, policy=vip)
    soon = open_case("d", 0.6, policy=vip)
    rank(database)
    with database.writing() as session:
        targets.set_target(session, vip, 10 * 86_400)
    decide(database, appealed, "ada", "confirmed")
    appeal(database, appealed)
    age(database, late, 11)
    age(database, soon, 9)
    rank(database)
    page = sign_in("auditor", console_rows=10).get("/").text
    assert listed(page) == [late, appealed, soon, fresh]
    assert re.findall(r'class="tag due-(\w+)">(\w+)', page) == [("late", "late"), ("soon", "due")]
    assert page.count('<span class="tag">appealed</span>') == 1
    with database.reading() as session:
        assert targets.count_due(session) == {vip: targets.DueCounts(1, 1)}


def test_an_appealed_case_is_due_anew_from_its_appeal(database: Database, open_case: OpenCase) -> None:
    case_id = open_case("a")
    with database.writing() as session:
        targets.set_target(session, "default", 86_400)
    age(database, case_id, 5)
    decide(database, case_id, "ada", "confirmed")
    appeal(database, case_id)
    with database.reading() as session:
        assert targets.count_due(session) == {"default": targets.DueCounts(0, 0)}
        case = session.get_one(Case, case_id)
        assert targets.dues(session, [case])[case_id].state == "later"


def test_new_cases_are_ranked_by_the_page_itself_where_no_worker_runs(
    database: Database, sign_in: Open, open_case: OpenCase
) -> None:
    open_case("a")
    sign_in("auditor").get("/")
    with database.reading() as session:
        found = session.scalars(select(Case)).one()
        assert (found.priority < 0, found.chance) == (True, 0.5)  # no reals and no decisions: a half


FILTERS = {
    "policy=vip": ["vip"],
    "state=confirmed": ["decided"],
    "state=all&decided_by=ada": ["decided", "disputed"],
    "state=all&decided_by=me": [],
    "assignee=bea": ["held"],
    "assignee=nobody": ["disputed", "fresh", "vip"],
    "appealed=yes": ["disputed"],
    "appealed=no": ["fresh", "held", "vip"],
    "disagreed=yes": ["disputed"],
    "since=2999-01-01": [],
    "until=2000-01-01": [],
    "since=2000-01-01&until=2999-01-01&policy=vip": ["vip"],
}


@pytest.fixture
def mixed(database: Database, open_case: OpenCase, vip: str) -> dict[int, str]:
    """Cases of every kind, by what they are called."""
    found = {name: open_case(name, policy=vip if name == "vip" else "default") for name in _KINDS}
    decide(database, found["decided"], "ada", "confirmed")
    decide(database, found["disputed"], "ada", "confirmed")
    appeal(database, found["disputed"])
    with database.writing() as session:
        version = session.get_one(Case, found["disputed"]).version
        reviews.decide_case(session, Decision(found["disputed"], version, "bob", "dismissed"))
    appeal(database, found["disputed"])
    with database.writing() as session:
        held = update(Case).where(Case.id == found["held"]).values(held_by="bea", held_until=moment(600))
        session.execute(held)
    return {case_id: name for name, case_id in found.items()}


_KINDS = ("fresh", "vip", "decided", "disputed", "held")


@pytest.mark.parametrize("query", FILTERS)
def test_filters_lie_in_the_url(sign_in: Open, mixed: dict[int, str], query: str) -> None:
    page = sign_in("lead", console_rows=10).get(f"/?{query}").text
    assert sorted(mixed[case_id] for case_id in listed(page)) == FILTERS[query]


def test_each_filter_in_use_stands_above_the_list_and_can_be_removed(sign_in: Open, mixed: dict[int, str]) -> None:
    assert mixed
    page = sign_in("lead").get("/?state=dismissed&decided_by=me&order=age").text
    removals = re.findall(r'<li><a class="tag" href="([^"]+)"[^>]*>([^:]+): <bdi>([^<]+)</bdi> ×</a>', page)
    assert [(html.unescape(url), name, value) for url, name, value in removals] == [
        ("/?order=age&decided_by=me", "State", "closed: real"),
        ("/?state=dismissed&decided_by=me", "Order", "oldest first"),
        ("/?state=dismissed&order=age", "Decided by", "me"),
    ]
    assert "Filters in use" not in sign_in("lead", "kim").get("/").text


@pytest.mark.parametrize("query", ["state=x", "order=x", "appealed=perhaps", "since=yesterday", "due=never"])
def test_a_filter_that_does_not_exist_is_named_and_not_ignored(sign_in: Open, query: str) -> None:
    answer = sign_in("reviewer").get(f"/?{query}")
    name, _, value = query.partition("=")
    assert answer.status_code == 400
    assert f"{name.capitalize()} &#39;{value}&#39; is" in answer.text


def test_views_are_saved_shared_counted_and_found_by_name(
    database: Database, sign_in: Open, open_case: OpenCase, vip: str, logged: Logged
) -> None:
    open_case("a", policy=vip)
    pat, sam, lee = sign_in("reviewer", "pat"), sign_in("reviewer", "sam"), sign_in("lead", "lee")
    kept = pat.post("/views", name="My vips", query="policy=vip&next=/evil&order=age", shared="yes")
    assert kept.headers["location"] == "/?policy=vip&order=age"
    pat.post("/views", name="mine", query="assignee=me")
    theirs = html.unescape(sam.get("/").text)
    assert re.search(r'href="/\?policy=vip&order=age" title="shared by pat"><bdi>My vips</bdi> '
                     r'<span class="count">1</span>', theirs)  # fmt: skip
    assert "<bdi>mine</bdi>" not in theirs
    assert sam.get("/views/My%20vips").headers["location"] == "/?policy=vip&order=age"
    assert sam.get("/views/mine").status_code == 404
    assert sam.post("/views", name="My vips", query="", shared="yes").status_code == 409
    assert sam.post("/views", name="x/y", query="").status_code == 400
    assert sam.post("/views", name="bad", query="state=x").status_code == 400
    with database.reading() as session:
        view_id = session.scalar(select(SavedView.id).where(SavedView.shared))
    assert sam.post("/views/delete", view=view_id).status_code == 403
    assert lee.post("/views/delete", view=view_id).status_code == 303
    assert sam.get("/views/My%20vips").status_code == 404
    assert ("pat", "view_saved") in logged()


SEARCHES = {
    "ADA": (["Ada", "ada"], ["Ada-1", "ada-1"]),
    "ada-1": ([], ["Ada-1", "ada-1"]),
    "never": ([], ["Never-Flagged"]),
    "quiet": ([], ["Never-Flagged"]),
    "a%": ([], []),
    "a_a": ([], []),
}


@pytest.mark.parametrize("text", SEARCHES)
def test_search_finds_accounts_and_images_flagged_or_not_in_any_letter_case(
    sign_in: Open, open_case: OpenCase, add_images: Callable[..., list[str]], text: str
) -> None:
    open_case("Ada")
    open_case("ada")
    add_images("Never-Flagged", account_id="Quiet")
    page = sign_in("reviewer").get(f"/?q={text.replace('%', '%25')}")
    accounts, images = SEARCHES[text]
    rows = page.text.partition('<caption class="hidden">Images</caption>')
    assert sorted(re.findall(r'data-label="Account" class="long"><bdi>([^<]+)', rows[0])) == accounts
    assert sorted(re.findall(r'data-label="Image" class="long"><bdi>([^<]+)', rows[2])) == images


def test_search_finds_a_case_by_its_number_and_tells_no_score_of_images(sign_in: Open, open_case: OpenCase) -> None:
    case_id = open_case("ada", 0.8765)
    page = sign_in("reviewer", blind_share=1.0).get(f"/?q={case_id}").text
    assert listed(page) == [case_id]
    assert "0.8765" not in page + sign_in("reviewer", blind_share=1.0).get("/?q=ada").text


def test_no_order_tells_the_score_of_a_case_that_one_decides_blind(sign_in: Open, open_case: OpenCase) -> None:
    ids = [open_case(f"account {number}", 0.6 + number / 100) for number in range(30)]
    for order in ("value", "score"):
        browser = sign_in("reviewer", blind_share=0.3, console_rows=100)
        page = browser.get(f"/?order={order}").text
        assert "their place would tell their score" in page
        sighted = listed(page)
        assert 10 < len(sighted) < 30
        assert "blind" not in re.findall(r'<span class="tag">(\w+)</span>', page)
    by_age = browser.get("/?order=age").text
    assert listed(by_age) == ids
    assert len(re.findall(r'<span class="tag">blind</span>', by_age)) == 30 - len(sighted)
    blind = set(ids) - set(sighted)
    given = []
    for _ in range(10):
        at = browser.post("/next", order="score").headers["location"]
        given.append(int(re.findall(r"/cases/(\d+)", at)[0]))
        browser.post(f"/cases/{given[-1]}/decide", decision="unsure", version=1, order="score")
    seen = [case_id for case_id in given if case_id not in blind]
    hidden = [case_id for case_id in given if case_id in blind]
    assert seen == sorted(seen, reverse=True)
    assert hidden == sorted(hidden) == sorted(blind)[: len(hidden)]


def test_ticked_cases_are_shown_then_decided_together_and_undone_at_once(
    database: Database, sign_in: Open, open_case: OpenCase, logged: Logged
) -> None:
    ids = [open_case(name) for name in "abc"]
    pat = sign_in("reviewer", "pat")
    assert pat.get("/").text.count('type="checkbox" form="batch"') == 3
    shown = pat.post("/batch", **ticks(*ids)).text
    assert "Decide 3 cases together" in shown
    unseen = pat.post("/batch/decide", decision="confirmed", note="one ring", reason="artefacts", **ticks(*ids))
    assert unseen.status_code == 409
    assert f"you have not seen the photo of case {ids[0]}; nothing was decided" in unseen.text
    assert 'value="one ring"' in unseen.text  # neither note nor ticks are lost
    assert unseen.text.count(" checked") == 3
    see(database, "pat", *ids)
    done = pat.post("/batch/decide", decision="confirmed", **ticks(*ids))
    page = pat.get(done.headers["location"]).text
    assert re.search(r"3 cases \(.*\): <strong>AI-generated", page)
    undo = page[page.index(f'action="/cases/{ids[0]}/undo"') :].partition("</form>")[0]
    back = dict(re.findall(r'name="([\w-]+)" value="(\w+)"', undo))
    del back["form_token"], back["only"]
    assert pat.post(f"/cases/{ids[0]}/undo", **back).headers["location"] == "/"
    with database.reading() as session:
        assert session.scalar(select(func.count()).where(Case.state == "open")) == 3
    assert [what for who, what in logged() if what in ("decided", "undone")] == ["decided"] * 3 + ["undone"] * 3


def test_a_batch_is_decided_whole_or_not_at_all_and_says_which_case_stands_in_the_way(
    database: Database, sign_in: Open, open_case: OpenCase
) -> None:
    free, taken, mine, delicate = open_case("a"), open_case("b"), open_case("c"), open_case("d")
    pat = sign_in("reviewer", "pat", console_rows=10)
    see(database, "pat", free, taken, mine)
    decide(database, mine, "pat", "unsure")
    with database.writing() as session:
        session.execute(update(Case).where(Case.id == taken).values(held_by="sam", held_until=moment(600)))
        session.execute(update(Case).where(Case.id == delicate).values(restricted="minor"))
    listing = pat.get("/").text
    assert 'disabled title="only leads see its photos and decide it"' in listing
    assert 'disabled title="it is held by sam"' in listing
    assert 'disabled title="you have decided it: another reviewer must"' in listing
    refused = pat.post("/batch/decide", decision="dismissed", **ticks(free, taken))
    assert refused.status_code == 409
    assert f"case {taken}: it is held by sam; nothing was decided" in refused.text
    with database.reading() as session:
        assert session.get_one(Case, free).state == "open"
    assert pat.post("/batch").status_code == 400
    stale = pat.post("/batch/decide", decision="dismissed", **ticks(free, version=7))
    assert "it has changed since: open it" in html.unescape(stale.text)


def test_auditors_and_blind_reviewers_tick_nothing_that_they_may_not_decide(sign_in: Open, open_case: OpenCase) -> None:
    case_id = open_case("a")
    assert "checkbox" not in sign_in("auditor").get("/").text.partition('<table class="list')[2]
    assert sign_in("auditor").post("/batch", **ticks(case_id)).status_code == 403
    blind = sign_in("reviewer", blind_share=1.0)
    assert 'disabled title="you decide it blind, on its own page"' in blind.get("/?order=age").text
    assert "photos/" not in blind.post("/batch", **ticks(case_id)).text


def test_a_day_of_waiting_is_one_step_of_priority(database: Database, open_case: OpenCase) -> None:
    case_id = open_case("a")
    with database.reading() as session:
        opened = session.get_one(Case, case_id).created_at
    assert ranking.priority(0.5, 1, opened) - ranking.priority(0.5, 1, opened + timedelta(days=1)) == pytest.approx(1)
    assert ranking.priority(0.5, 2, opened) == pytest.approx(ranking.priority(1.0, 1, opened))
