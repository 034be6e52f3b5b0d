"""Lists show a small picture of each case's first photo to people who may see it, and do not count that as looking."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, select, update

from db.review import team
from db.review.restrictions import restrict_case
from db.schema import Case, Draw, Flag, Request, Sample, Score
from db.schema.clock import moment
from db.store.session import Database

Open = Callable[..., Any]
THUMB = b"\xff\xd8\xff\xe0 a very small photo"


def shown(page: str) -> list[str]:
    """The addresses of the small pictures on a page."""
    return re.findall(r'<img src="(/cases/\d+/photos/\d+/thumb)"', page)


def test_the_queue_and_the_search_show_small_pictures_which_load_as_one_scrolls(
    sign_in: Open, flag: Callable[..., None], keep_picture: Callable[..., None], case_ids: Callable[[], list[int]]
) -> None:
    flag("ada", "a", "b")
    keep_picture("a")
    keep_picture("a", "thumb", THUMB)
    pat = sign_in("reviewer", "pat")
    (case_id,) = case_ids()
    for path in ("/", "/?q=ada"):
        page = pat.get(path).text
        (address,) = shown(page)
        assert f'loading="lazy" decoding="async" alt="First photo of case {case_id}"' in page
        assert pat.get(address).content == THUMB
    assert shown(sign_in("auditor").get("/").text) == []
    assert sign_in("auditor").get(address).status_code == 403


def test_a_small_picture_is_no_look_at_the_photo_and_takes_no_case(
    database: Database,
    sign_in: Open,
    flag: Callable[..., None],
    keep_picture: Callable[..., None],
    case_ids: Callable[[], list[int]],
    logged: Callable[[], list[tuple[str, str]]],
) -> None:
    flag("ada", "a")
    keep_picture("a")
    pat = sign_in("reviewer", "pat")
    (address,) = shown(pat.get("/").text)
    before = logged()
    assert pat.get(address).content.startswith(b"\xff\xd8")  # of a release that made no small ones: the preview
    assert logged() == before
    with database.reading() as session:
        assert session.get_one(Case, case_ids()[0]).held_by is None
    refused = pat.post(f"/cases/{case_ids()[0]}/decide", decision="confirmed", version=1)
    assert "has been on your screen" in refused.text


def test_a_picture_that_nobody_has_asked_for_is_asked_for_once(
    database: Database, sign_in: Open, flag: Callable[..., None]
) -> None:
    flag("ada", "a")
    pat = sign_in("reviewer", "pat")
    for _ in range(2):
        assert 'class="thumb none wait" title="A worker is making this picture"' in pat.get("/").text
    with database.reading() as session:
        assert session.execute(select(Request.kind, Request.image_id)).all() == [("preview", "a")]


def test_restricted_cases_and_photos_still_to_be_judged_blind_have_none(
    database: Database,
    sign_in: Open,
    flag: Callable[..., None],
    keep_picture: Callable[..., None],
    case_ids: Callable[[], list[int]],
) -> None:
    for name in ("minor", "sampled", "free"):
        flag(name, name)
        keep_picture(name)
    restricted, _, free = case_ids()
    lead, pat = sign_in("lead"), sign_in("reviewer", "pat")
    with database.writing() as session:
        restrict_case(session, restricted, "lead", "minor")
        row = session.execute(select(Score.id, Score.version_id).where(Score.image_id == "sampled")).one()
        threshold = session.scalars(select(Flag.threshold_id).where(Flag.image_id == "sampled")).one()
        draw = Draw(policy="default", version_id=row.version_id, threshold_id=threshold, stratum="flagged", low=0,
                    high=1, since=moment(), until=moment(), population=1, drawn=1, author="lead")  # fmt: skip
        session.add(draw)
        session.flush()
        session.add(Sample(draw_id=draw.id, image_id="sampled", score_id=row.id, probability=1.0))
    for browser in (lead, pat):
        assert [re.sub(r"/photos.*", "", one) for one in shown(browser.get("/").text)] == [f"/cases/{free}"]
    flag_id = re.findall(r"/photos/(\d+)", lead.get(f"/cases/{restricted}").text)[0]
    assert pat.get(f"/cases/{restricted}/photos/{flag_id}/thumb").status_code == 403
    with database.writing() as session:
        session.execute(update(Sample).values(judged=True))
    assert len(shown(pat.get("/").text)) == 2


def test_small_pictures_are_blurred_as_the_team_or_the_person_wants(
    database: Database, sign_in: Open, flag: Callable[..., None], keep_picture: Callable[..., None]
) -> None:
    flag("ada", "a")
    keep_picture("a")
    with database.writing() as session:
        team.set_picture_default(session, "default", "grey-blur", "lee")
    pat = sign_in("reviewer", "pat")
    assert 'class="thumb" data-pictures="grey-blur"' in pat.get("/").text
    pat.post("/look", theme="auto", pictures="plain", keys="on", rest="60", back="/")
    assert 'class="thumb" data-pictures="plain"' in pat.get("/").text


@pytest.mark.parametrize("path", ["/", "/?q=account"])
def test_a_longer_list_takes_no_more_statements(
    database: Database, sign_in: Open, flag: Callable[..., None], keep_picture: Callable[..., None], path: str
) -> None:
    def statements() -> int:
        heard: list[str] = []
        event.listen(database.engine, "before_cursor_execute", hear := lambda *given: heard.append(given[2]))
        assert len(shown(pat.get(path).text)) == count
        event.remove(database.engine, "before_cursor_execute", hear)
        return len(heard)

    pat, taken = sign_in("reviewer", "pat", console_rows=20), list[int]()
    for count in (1, 8):
        for number in range(count):
            if not taken or number:
                flag(f"account {number}", f"{count}-{number}")
                keep_picture(f"{count}-{number}")
        pat.get(path)  # counts are cached from here on
        taken.append(statements())
    assert taken[1] < taken[0] + 7  # seven cases more; a count of a view may have expired
