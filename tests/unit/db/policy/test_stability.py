"""A photo whose score crosses the threshold when it is delivered again is unstable: a person sees it; it is no flag."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select, text

from db.compliance.period import Period
from db.compliance.transparency import count_period
from db.errors import DatabaseError
from db.file_signals import AI, FileSignal
from db.models import versions
from db.policy import case_changes, coverage, policies, scores, signal_actions, signal_changes
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget, ChangeEffect
from db.policy.effective_policy import bands_in_force
from db.policy.forecast import forecast_flags
from db.policy.scores import Provenance, Scored
from db.policy.threshold_choice import choose_by_value
from db.policy.verdicts import PhotoVerdict, VerdictReader
from db.queue.case_filter import CaseFilter, count_cases, find_cases
from db.review.case_timeline import case_timeline
from db.review.cases import flagged_photos
from db.schema import Case, Delivery, Flag, Score
from db.stats.stability import Stability
from db.store.session import Database
from db.work import deliveries
from worker.cli import root

ADA = ChangeAuthor("ada", "measured")
PLENTY = Budget(100)
AddImages = Callable[..., list[str]]
Record = Callable[..., None]
SetThreshold = Callable[..., int]
SAYS_AI = FileSignal(AI, "Stable Diffusion parameters", "PNG parameters")
KINDS = ("case.opened", "image.flagged")
#: Scores round a threshold of 0.8, with the limits over other deliveries.
PHOTOS = {
    "sure": (0.9, 0.85, 0.95),
    "crossing": (0.85, 0.7, 0.9),
    "below": (0.78, 0.7, 0.82),
    "clear": (0.75, 0.7, 0.79),
}


@pytest.fixture
def record_limits(database: Database, version_id: int, add_images: AddImages) -> Record:
    """``record_limits("a", 0.85, 0.7, 0.9)``: an image of an account of its own, and its score with its limits."""

    def write(
        image_id: str, score: float, low: float | None, high: float = 1, *said: FileSignal, policy: str = "default"
    ) -> None:
        add_images(image_id, account_id=f"account of {image_id}", policy=policy)
        limits = Stability(low, high, 8, 1) if low is not None else None
        scored = Scored(image_id, policy, score, "f" * 64, 1000, 640, 480, stability=limits, signals=said)
        with database.writing() as session:
            scores.record(session, [scored], Provenance(version_id, "eager-fp32", "cpu"))

    return write


@pytest.fixture
def note(database: Database) -> Callable[..., None]:
    """``note()``, or ``note("off", "vip")``: what a policy does with unstable photos."""

    def choose(choice: str = "note", policy: str = "default") -> None:
        with database.writing() as session:
            case_changes.lock_versions(session)
            policies.set_stability(session, policy, choice)

    return choose


def kinds(database: Database) -> dict[str, str]:
    with database.reading() as session:
        return dict(session.execute(select(Flag.image_id, Flag.kind)).all())


def verdicts(database: Database) -> dict[str, PhotoVerdict]:
    with database.reading() as session:
        return {name: found.verdict for name, found in VerdictReader().find_many(session, list(PHOTOS)).items()}


def shown(database: Database, version_id: int, value: float) -> ChangeEffect:
    with database.reading() as session:
        return case_changes.preview_changes(session, [coverage.rule_for(session, version_id, "default", value)])


def change(database: Database, version_id: int, value: float) -> Any:
    with database.writing() as session:
        row = case_changes.set_threshold(session, version_id, "default", choose_by_value(None, value), ADA, PLENTY)
        return row.opened, row.withdrawn


def states(database: Database) -> dict[str | None, str]:
    with database.reading() as session:
        return {case.account_id: case.state for case in session.scalars(select(Case))}


@pytest.mark.both
def test_unstable_photos_wait_for_a_person_and_only_what_stays_above_is_flagged(
    database: Database, record_limits: Record, set_threshold: SetThreshold, note: Callable[..., None]
) -> None:
    threshold_id = set_threshold(0.8)
    note()
    with database.writing() as session:
        deliveries.switch_on(session, KINDS)
    for name, limits in PHOTOS.items():
        record_limits(name, *limits)
    assert kinds(database) == {"sure": "score", "crossing": "unstable", "below": "unstable"}
    found = verdicts(database)
    assert {name: (one.verdict, one.flagged, one.flagged_by) for name, one in found.items()} == {
        "sure": ("flagged", True, "score"),
        "crossing": ("unstable", None, None),
        "below": ("unstable", None, None),
        "clear": ("clear", False, None),
    }
    assert (found["below"].score, found["below"].score_low, found["below"].score_high) == (0.78, 0.7, 0.82)
    assert found["below"].threshold == 0.8
    with database.reading() as session:
        assert set(session.scalars(select(Flag.threshold_id))) == {threshold_id}
        assert session.scalars(select(Delivery.image_id).where(Delivery.event == "flagged")).all() == ["sure"]
        assert len(session.scalars(select(Delivery.id).where(Delivery.event == "opened")).all()) == 3
        counts = count_period(session, Period.parse("2020-01-01", "2999-01-01"))
        assert (counts.photos_flagged, counts.photos_unstable, counts.cases_opened) == (1, 2, 3)


@pytest.mark.both
def test_a_photo_that_is_flagged_after_it_was_unstable_in_its_case_is_told(
    database: Database, record_limits: Record, set_threshold: SetThreshold, note: Callable[..., None]
) -> None:
    set_threshold(0.8)
    note()
    record_limits("crossing", *PHOTOS["crossing"])
    with database.writing() as session:
        deliveries.switch_on(session, KINDS)
        (case,) = session.scalars(select(Case))
        other = versions.register(session, "second", "2" * 64, "unmask-1", {"name": "second"})
        score = Score(image_id="crossing", version_id=other.id, score=0.9, engine="eager", device="cpu")
        session.add(score)
        session.flush()
        session.add(Flag(case_id=case.id, image_id="crossing", score_id=score.id, evidence="the file says so"))
    with database.reading() as session:
        assert session.scalars(select(Delivery.image_id).where(Delivery.event == "flagged")).all() == ["crossing"]


def test_without_a_choice_the_score_alone_decides_and_no_band_is_read(
    database: Database, version_id: int, record_limits: Record, set_threshold: SetThreshold
) -> None:
    set_threshold(0.8)
    for name, limits in PHOTOS.items():
        record_limits(name, *limits)
    assert kinds(database) == {"sure": "score", "crossing": "score"}
    assert {name: one.verdict for name, one in verdicts(database).items()} == {
        "sure": "flagged",
        "crossing": "flagged",
        "below": "clear",
        "clear": "clear",
    }
    with database.reading() as session:
        assert bands_in_force(session, version_id) == {}


def test_a_score_without_limits_is_judged_by_itself(
    database: Database, record_limits: Record, set_threshold: SetThreshold, note: Callable[..., None]
) -> None:
    set_threshold(0.8)
    note()
    record_limits("sure", 0.81, None)
    record_limits("clear", 0.79, None)
    assert kinds(database) == {"sure": "score"}


@pytest.mark.usefixtures("vip")
def test_a_policy_without_a_choice_has_that_of_the_policy_default(
    database: Database,
    version_id: int,
    record_limits: Record,
    set_threshold: SetThreshold,
    note: Callable[..., None],
) -> None:
    set_threshold(0.8)
    note()
    with database.reading() as session:
        bands = bands_in_force(session, version_id)
    assert bands["vip"] == bands["default"]
    assert 0.8 in bands["vip"]
    record_limits("crossing", *PHOTOS["crossing"], policy="vip")
    note("off", "vip")
    record_limits("sure", *PHOTOS["crossing"], policy="vip")
    assert kinds(database) == {"crossing": "unstable", "sure": "score"}
    with database.reading() as session:
        assert list(bands_in_force(session, version_id)) == ["default"]


def test_what_a_file_says_flags_an_unstable_photo_too(
    database: Database, record_limits: Record, set_threshold: SetThreshold, note: Callable[..., None]
) -> None:
    set_threshold(0.8)
    note()
    with database.writing() as session:
        signal_changes.set_actions(session, "default", {AI: signal_actions.FLAG}, PLENTY)
    record_limits("crossing", *PHOTOS["crossing"], SAYS_AI)
    assert kinds(database) == {"crossing": "provenance"}
    assert verdicts(database)["crossing"].verdict == "flagged"


@pytest.mark.both
def test_a_new_threshold_compares_the_stored_limits_and_does_what_its_preview_showed(
    database: Database, version_id: int, record_limits: Record, note: Callable[..., None]
) -> None:
    note()
    for name, limits in PHOTOS.items():
        record_limits(name, *limits)
    assert kinds(database) == {}  # nothing flags yet
    preview = shown(database, version_id, 0.8)
    assert ({line.account_id for line in preview.opens}, preview.unstable) == (
        {"account of sure", "account of crossing", "account of below"},
        2,
    )
    assert change(database, version_id, 0.8) == (3, 0)
    assert kinds(database) == {"sure": "score", "crossing": "unstable", "below": "unstable"}
    # Higher: "below" is clear now, "crossing" is still on both sides, and so is "sure".
    preview = shown(database, version_id, 0.88)
    assert ([line.account_id for line in preview.closes], preview.opens) == (["account of below"], [])
    assert change(database, version_id, 0.88) == (0, 1)
    assert states(database) == {
        "account of sure": "open",
        "account of crossing": "open",
        "account of below": "withdrawn",
    }
    # Lower: all reach it whatever happens to them.
    preview = shown(database, version_id, 0.7)
    assert (len(preview.opens), preview.unstable) == (2, 0)
    assert change(database, version_id, 0.7) == (2, 0)
    assert kinds(database)["clear"] == "score"


def test_turned_off_again_the_next_threshold_withdraws_what_only_the_limits_reached(
    database: Database, version_id: int, record_limits: Record, set_threshold: SetThreshold, note: Callable[..., None]
) -> None:
    set_threshold(0.8)
    note()
    for name in ("crossing", "below"):
        record_limits(name, *PHOTOS[name])
    note("off")
    assert len(shown(database, version_id, 0.8).closes) == 1
    with database.writing() as session:
        done = case_changes.apply_thresholds(session, version_id, ADA, PLENTY)
    assert (done.opened, done.withdrawn) == (0, 1)
    assert states(database)["account of below"] == "withdrawn"


def test_the_forecast_counts_flags_and_unstable_photos_apart(
    database: Database, version_id: int, record_limits: Record, note: Callable[..., None]
) -> None:
    for name, limits in PHOTOS.items():
        record_limits(name, *limits)

    def forecast() -> tuple[float, float | None]:
        with database.reading() as session:
            rule = coverage.rule_for(session, version_id, "default", 0.8)
            found = forecast_flags(session, rule, choose_by_value(None, 0.8), {})
        assert found.flags_a_day is not None
        return found.flags_a_day.value, found.unstable_a_day.value if found.unstable_a_day else None

    assert forecast() == (2, None)
    note()
    assert forecast() == (1, 2)


def test_the_queue_finds_cases_with_unstable_photos_and_says_what_they_are(
    database: Database, record_limits: Record, set_threshold: SetThreshold, note: Callable[..., None]
) -> None:
    set_threshold(0.8)
    note()
    for name, limits in PHOTOS.items():
        record_limits(name, *limits)
    with database.reading() as session:
        filters = {words: CaseFilter.parse({"unstable": words}, "ada") for words in ("yes", "no")}
        found = {words: find_cases(session, wanted, 9) for words, wanted in filters.items()}
        accounts = {words: {line.case.account_id for line in lines} for words, lines in found.items()}
        assert count_cases(session, CaseFilter(unstable=True)) == 2
        (line,) = find_cases(session, CaseFilter.parse({"unstable": "yes", "order": "score"}, "ada"), 1)
        (photo,) = flagged_photos(session, line.case.id)
        events = case_timeline(session, line.case.id)
        blind = case_timeline(session, line.case.id, blind=True)
    assert accounts == {"yes": {"account of crossing", "account of below"}, "no": {"account of sure"}}
    assert photo.unstable_words is not None
    assert "scores from 0.7000 to 0.9000, on both sides of the threshold" in photo.unstable_words
    assert "found unstable: model first scored it 0.8500, and from 0.7000 to 0.9000" in events[1].text
    assert "unstable" not in blind[1].text + blind[1].what


@pytest.mark.both
def test_the_limits_of_a_score_hold_it(database: Database, version_id: int, add_images: AddImages) -> None:
    add_images("a")
    for low, high in ((0.6, 0.9), (0.1, 0.4), (-0.1, 0.9), (0.1, 1.1)):
        statement = text(
            "INSERT INTO scores (image_id, version_id, score, low, high, engine, device) "
            "VALUES ('a', :version, 0.5, :low, :high, 'e', 'cpu')"
        )
        with pytest.raises(DatabaseError), database.writing() as session:
            session.execute(statement, {"version": version_id, "low": low, "high": high})


def test_commands_choose_stability_and_list_what_is_unstable(
    database: Database, record_limits: Record, set_threshold: SetThreshold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("UNMASK_ACTOR", "ada")
    set_threshold(0.8)

    def asked(*words: str) -> Any:
        result = CliRunner().invoke(root, [*words, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert asked("policy", "list")[0]["stability"] is None
    assert asked("policy", "set", "default", "--stability", "note")[0]["stability"] == "note"
    for name in ("sure", "below"):
        record_limits(name, *PHOTOS[name])
    (case,) = asked("cases", "list", "--unstable")
    assert case["account"] == "account of below"
    (photo,) = asked("cases", "show", str(case["case"]))["photos"]
    assert (photo["flagged_by"], photo["score_low"], photo["score_high"]) == ("unstable", 0.7, 0.82)
    assert asked("image", "show", "below")["verdict"] == "unstable"
    preview = asked("threshold", "preview", "--value", "0.71")
    assert (preview["unstable_photos"], preview["unstable_a_day"]["value"]) == (0, 1)
