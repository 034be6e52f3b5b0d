"""Policies flag photos for what their files say, with the evidence; what a file does not say means nothing."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text, update

from db.errors import ConflictError, DatabaseError, DbError
from db.file_signals import AI, AI_EDITED, CAMERA, FileSignal
from db.policy import case_changes, pauses, scores, signal_actions, signal_changes
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget
from db.policy.scores import Provenance, Scored
from db.policy.threshold_choice import choose_by_value
from db.policy.verdicts import VerdictReader
from db.privacy import erasure
from db.privacy.retention import RetentionSettings, apply_retention
from db.review.case_timeline import case_timeline
from db.review.cases import flagged_photos
from db.schema import Case, Flag, Image, Request, Signal
from db.store.session import Database
from db.work import signals

ADA = ChangeAuthor("ada", "they say so themselves")
PLENTY = Budget(100)
SAYS_AI = FileSignal(AI, "Stable Diffusion parameters", "PNG parameters")
FORGED = FileSignal(AI, "trainedAlgorithmicMedia", "C2PA: c2pa.created", "invalid")
NAMES_CAMERA = FileSignal(CAMERA, "Canon, EOS R5", "EXIF")
EVIDENCE = "Stable Diffusion parameters (PNG parameters, unsigned)"

Record = Callable[..., None]
Act = Callable[..., int]


@pytest.fixture
def record_file(database: Database, version_id: int, add_images: Callable[..., list[str]]) -> Record:
    """``record_file("a", 0.1, SAYS_AI)``: an image of an account of its own is scored, and its file says this."""

    def write(image_id: str, score: float, *said: FileSignal, policy: str = "default") -> None:
        add_images(image_id, account_id=f"account of {image_id}", policy=policy)
        scored = Scored(image_id, policy, score, "f" * 64, 1000, 640, 480, signals=said)
        with database.writing() as session:
            scores.record(session, [scored], Provenance(version_id, "eager-fp32", "cpu"))

    return write


@pytest.fixture
def act(database: Database) -> Act:
    """``act("provenance=ai:flag")`` for the policy default; returns how many cases opened."""

    def change(*words: str, policy: str = "default", budget: Budget = PLENTY) -> int:
        with database.writing() as session:
            return signal_changes.set_actions(session, policy, dict(map(signal_actions.parse_action, words)), budget)

    return change


def flags(database: Database) -> dict[str, tuple[str, str | None, int | None]]:
    with database.reading() as session:
        rows = session.execute(select(Flag.image_id, Flag.kind, Flag.evidence, Flag.threshold_id))
        return {row.image_id: (row.kind, row.evidence, row.threshold_id) for row in rows}


def test_without_an_action_what_a_file_says_is_kept_and_flags_nothing(database: Database, record_file: Record) -> None:
    record_file("a", 0.1, SAYS_AI, NAMES_CAMERA)
    with database.reading() as session:
        verdict = VerdictReader().find(session, "a").verdict  # type: ignore[union-attr] # it is there
    assert flags(database) == {}
    assert (verdict.flagged, verdict.flagged_by) == (None, None)
    assert verdict.signals == [
        {
            "kind": AI,
            "value": SAYS_AI.value,
            "where": SAYS_AI.where,
            "trust": "unsigned",
            "action": None,
            "one_in_at_least": None,
        },
        {
            "kind": CAMERA,
            "value": "Canon, EOS R5",
            "where": "EXIF",
            "trust": "unsigned",
            "action": None,
            "one_in_at_least": None,
        },
    ]


@pytest.mark.both
def test_a_flag_says_its_kind_and_its_evidence(
    database: Database, record_file: Record, act: Act, set_threshold: Callable[..., int]
) -> None:
    threshold_id = set_threshold(0.5)
    act("provenance=ai:flag", "provenance=ai_edited:note")
    record_file("says", 0.1, SAYS_AI)
    record_file("both", 0.9, SAYS_AI)
    record_file("score", 0.9, NAMES_CAMERA)
    record_file("edited", 0.1, FileSignal(AI_EDITED, "Google AI", "IPTC Credit"))
    record_file("forged", 0.1, FORGED)
    record_file("silent", 0.1)
    assert flags(database) == {
        "says": ("provenance", EVIDENCE, None),
        "both": ("score+provenance", EVIDENCE, threshold_id),
        "score": ("score", None, threshold_id),
    }
    with database.reading() as session:
        found = VerdictReader().find_many(session, ["says", "both", "score", "edited", "forged", "silent"])
        case_id = session.scalars(select(Flag.case_id).where(Flag.image_id == "says")).one()
        (photo,) = flagged_photos(session, case_id)
        told = case_timeline(session, case_id)[-1].text
    verdicts = {name: outcome.verdict for name, outcome in found.items()}
    assert {name: (one.flagged, one.flagged_by, one.evidence, one.threshold) for name, one in verdicts.items()} == {
        "says": (True, "provenance", EVIDENCE, 0.5),
        "both": (True, "score+provenance", EVIDENCE, 0.5),
        "score": (True, "score", None, 0.5),
        "edited": (False, None, None, 0.5),
        "forged": (False, None, None, 0.5),
        "silent": (False, None, None, 0.5),
    }
    actions = {name: [signal["action"] for signal in one.signals] for name, one in verdicts.items()}
    assert actions == {
        "says": ["flag"], "both": ["flag"], "score": [None], "edited": ["note"], "forged": [None], "silent": [],
    }  # fmt: skip
    assert (photo.kind, photo.evidence, photo.threshold) == ("provenance", EVIDENCE, None)
    assert told == f"photo says flagged: model first scored it 0.1000, its file says: {EVIDENCE}"


def test_a_policy_follows_default_until_it_has_an_action_of_its_own(
    database: Database, record_file: Record, act: Act, vip: str
) -> None:
    act("provenance=ai:flag")
    record_file("a", 0.1, SAYS_AI, policy=vip)
    act("provenance=ai:off", policy=vip)
    record_file("b", 0.1, SAYS_AI, policy=vip)
    assert set(flags(database)) == {"a"}


@pytest.mark.both
def test_a_new_action_flags_what_is_in_the_record_within_the_budget(
    database: Database, record_file: Record, act: Act
) -> None:
    for name in ("a", "b"):
        record_file(name, 0.1, SAYS_AI)
    record_file("c", 0.1, NAMES_CAMERA)
    record_file("d", 0.1, FORGED)
    with pytest.raises(ConflictError, match="it would open 2 cases and withdraw 0, over the budget of 1"):
        act("provenance=ai:flag", budget=Budget(1))
    assert flags(database) == {}
    assert act("provenance=ai:flag") == 2
    assert flags(database) == dict.fromkeys(("a", "b"), ("provenance", EVIDENCE, None))
    assert act("provenance=ai:flag") == 0
    with database.reading() as session:
        assert set(session.scalars(select(Request.author))) == {"provenance"}


def test_a_pause_of_flagging_holds_and_its_end_forgets_nobody(
    database: Database, record_file: Record, act: Act, version_id: int
) -> None:
    act("provenance=ai:flag")
    with database.writing() as session:
        pauses.pause(session, "flagging", ADA)
    record_file("a", 0.1, SAYS_AI)
    assert flags(database) == {}
    with database.writing() as session:
        pauses.resume(session, "flagging", ADA)
        case_changes.apply_thresholds(session, version_id, ADA, PLENTY)
        assert signal_changes.apply_actions(session, version_id, PLENTY) == 1
    assert set(flags(database)) == {"a"}


@pytest.mark.both
def test_a_threshold_does_not_take_back_what_a_file_says(
    database: Database, record_file: Record, act: Act, set_threshold: Callable[..., int], version_id: int
) -> None:
    set_threshold(0.5)
    act("provenance=ai:flag")
    record_file("says", 0.1, SAYS_AI)
    record_file("score", 0.6)
    with database.writing() as session:
        case_changes.set_threshold(session, version_id, "default", choose_by_value(None, 0.9), ADA, PLENTY)
    with database.reading() as session:
        states = dict(session.execute(select(Case.account_id, Case.state)).all())
    assert states == {"account of says": "open", "account of score": "withdrawn"}


@pytest.mark.parametrize(
    "wrong", ["provenance=camera:flag", "provenance=ai", "provenance=ai:ban", "provenance:flag", "", "score=1:flag"]
)
def test_only_what_says_ai_can_act(wrong: str) -> None:
    with pytest.raises(DbError, match="conditions are provenance=ai, provenance=ai_edited, actions are flag, note"):
        signal_actions.parse_action(wrong)


@pytest.mark.both
def test_signals_are_appended_and_go_with_the_account(database: Database, record_file: Record) -> None:
    record_file("a", 0.1, SAYS_AI, SAYS_AI)
    record_file("b", 0.1, SAYS_AI)
    for change in ("UPDATE signals SET value = 'x'", "DELETE FROM signals WHERE image_id = 'b'"):
        with pytest.raises(DatabaseError, match="signals are appended, never changed"), database.writing() as session:
            session.execute(text(change))
    with database.writing() as session:
        erasure.erase_images(session, ["a"])
        signals.record_signals(session, {"a": [SAYS_AI], "b": [SAYS_AI]})  # of a worker that did not know yet
    with database.reading() as session:
        assert list(session.scalars(select(Signal.image_id))) == ["b"]


def test_retention_deletes_signals_with_their_record(database: Database, record_file: Record, act: Act) -> None:
    record_file("old", 0.1, NAMES_CAMERA)
    act("provenance=ai:flag")
    record_file("flagged", 0.1, SAYS_AI)
    with database.writing() as session:
        session.execute(update(Image).values(created_at=datetime(2020, 1, 1, tzinfo=UTC)))
    apply_retention(database, RetentionSettings(keep_scores_days=1))
    with database.reading() as session:
        assert list(session.scalars(select(Signal.image_id))) == ["flagged"]


@pytest.mark.both
def test_a_flag_without_any_proof_is_refused(database: Database, record_file: Record, act: Act) -> None:
    act("provenance=ai:flag")
    record_file("a", 0.1, SAYS_AI)
    with pytest.raises(DatabaseError, match="proof"), database.writing() as session:
        session.execute(text("UPDATE flags SET evidence = NULL"))
