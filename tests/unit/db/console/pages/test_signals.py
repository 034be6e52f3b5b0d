"""A case shows beside the score what its photo's file says, and what that is worth; blind reviewers see none of it."""

from collections.abc import Callable

from db.console.views.case_photos import list_case_photos
from db.file_signals import AI, CAMERA, FileSignal
from db.policy import scores, signal_actions, signal_changes
from db.policy.case_changes import Budget
from db.policy.scores import Provenance, Scored
from db.store.session import Database

EVIL = FileSignal.of(CAMERA, "<script>alert(1)</script>\u202e", "EXIF")


def test_a_case_shows_what_the_file_says_and_what_that_is_worth(
    database: Database,
    version_id: int,
    add_images: Callable[..., list[str]],
    sign_in: Callable[..., object],
    case_ids: Callable[[], list[int]],
) -> None:
    add_images("a", account_id="ada")
    said = (FileSignal(AI, "NovelAI", "PNG Software"), EVIL)
    with database.writing() as session:
        signal_changes.set_actions(session, "default", {AI: signal_actions.FLAG}, Budget(1))
        scored = Scored("a", "default", 0.1, "f" * 64, 1000, 640, 480, signals=said)
        scores.record(session, [scored], Provenance(version_id, "eager-fp32", "cpu"))
    (case_id,) = case_ids()
    page = sign_in("reviewer").get(f"/cases/{case_id}").text  # type: ignore[attr-defined] # a test's browser
    assert "Flagged for what its file says: <bdi>NovelAI (PNG Software, unsigned)</bdi>" in page
    assert "The file says: AI-generated: <bdi>NovelAI</bdi>" in page
    assert "not signed: anybody can write this" in page
    assert "The file names a camera (context, no proof)" in page
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e" in page
    assert "Score 0.1000 · model" in page
    assert "flagged from here" not in page
    with database.reading() as session:
        (photo,) = list_case_photos(session, case_id, blind=True)
    assert (photo.scale, photo.signals) == (None, [])
