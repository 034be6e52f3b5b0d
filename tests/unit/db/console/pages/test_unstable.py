"""A case says of an unstable photo that it is not flagged, and why a person sees it; blind reviewers hear nothing."""

from collections.abc import Callable

from db.console.views.case_photos import list_case_photos
from db.policy import case_changes, policies, scores
from db.policy.scores import Provenance, Scored
from db.stats.stability import Stability
from db.store.session import Database


def test_a_case_says_what_is_unstable_and_the_queue_finds_it(
    database: Database,
    version_id: int,
    add_images: Callable[..., list[str]],
    set_threshold: Callable[..., int],
    sign_in: Callable[..., object],
    case_ids: Callable[[], list[int]],
) -> None:
    set_threshold(0.8)
    with database.writing() as session:
        case_changes.lock_versions(session)
        policies.set_stability(session, "default", "note")
    for name, limits in (("crossing", Stability(0.7, 0.9, 8, 1)), ("sure", None)):
        add_images(name, account_id=f"account of {name}")
        scored = Scored(name, "default", 0.85, "f" * 64, 1000, 640, 480, stability=limits)
        with database.writing() as session:
            scores.record(session, [scored], Provenance(version_id, "eager-fp32", "cpu"))
    unstable, sure = case_ids()
    browser = sign_in("reviewer")
    page = browser.get(f"/cases/{unstable}").text  # type: ignore[attr-defined] # a test's browser
    assert 'class="tag unstable">unstable</span> Not flagged: the same photo, delivered again in 8 ways' in page
    assert "scores from 0.7000 to 0.9000, on both sides of the threshold" in page
    assert "tag unstable" not in browser.get(f"/cases/{sure}").text  # type: ignore[attr-defined]
    for words, found in (("yes", unstable), ("no", sure)):
        listed = browser.get(f"/?unstable={words}").text  # type: ignore[attr-defined]
        assert [f'href="/cases/{case}"' in listed for case in (unstable, sure)] == [unstable == found, sure == found]
    with database.reading() as session:
        (photo,) = list_case_photos(session, unstable, blind=True)
    assert (photo.scale, photo.unstable) == (None, None)
