"""A certificate holds until blind verdicts or drift contradict it; then it has expired, on this evidence, for good."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import insert, select

from db.commands.threshold import threshold_group
from db.models import references, versions
from db.policy import case_changes
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget
from db.policy.threshold_choice import choose_by_rule
from db.quality import samples
from db.quality.certificates import CertificateState, certificate_states, expire_certificates
from db.quality.sampling import Sizes, draw_strata
from db.schema import Expiry, Image, ModelVersion, Sample, Score
from db.store.session import Database
from worker.background.certificate_watch import CertificateWatch
from worker.exporter.collectors import CertificateCollector

AddImages = Callable[..., list[str]]
Record = Callable[..., list[str]]

#: A thousand reals; certified at 5 %, scores from about 0.96 on are flagged.
CARD = {"reference": {"name": "card reals", "scores": [number / 1000 for number in range(1000)]}}
FPR = 0.05
pytestmark = pytest.mark.both  # databases can differ here


@pytest.fixture
def version_id(database: Database) -> int:
    with database.writing() as session:
        return versions.register(session, "first", "1" * 64, "unmask-1", CARD).id


@pytest.fixture
def certified(database: Database, version_id: int) -> Callable[..., int]:
    """``certified()`` sets a threshold, certified at 5 %; returns its id."""

    def set_it(rule: str = "certified") -> int:
        with database.writing() as session:
            reals = references.reals_of(session, session.get_one(ModelVersion, version_id))
            choice = choose_by_rule(reals, FPR, rule)
            by = ChangeAuthor("pat", "tried")
            return case_changes.set_threshold(session, version_id, "default", choice, by, Budget(1000, max_fpr=1)).id

    return set_it


@pytest.fixture
def upload(database: Database, add_images: AddImages, record: Record) -> Callable[[int, int], None]:
    """``upload(400, 60)``: so many photos came in and were scored, so many of them at 0.99; half of each are drawn."""

    def work(photos: int, flagged: int) -> None:
        names = [f"p{number:03}" for number in range(photos)]
        add_images(*names)
        record({name: 0.99 if number < flagged else number / photos * 0.9 for number, name in enumerate(names)})
        with database.writing() as session:
            draw_strata(session, Sizes(50, 10, 10), "lee")

    return work


def judge(database: Database, verdict: str) -> None:
    with database.writing() as session:
        for sample in session.scalars(select(Sample).where(~Sample.judged)).all():
            sample.held_by = "ada"  # it was given to her
            samples.record_verdict(session, sample.id, "ada", verdict)


def states(database: Database) -> list[CertificateState]:
    with database.reading() as session:
        found = certificate_states(session)
        session.expunge_all()
    return found


def test_a_certificate_is_valid_until_it_is_tested(database: Database, certified: Callable[..., int]) -> None:
    threshold = certified()
    (state,) = states(database)
    assert (state.threshold.id, state.policy, state.judged) == (threshold, "default", 0)
    assert state.e_value == pytest.approx(1)
    assert state.limit == pytest.approx(20)
    assert "valid, and not yet tested" in state.words
    assert expire_certificates(database) == []


def test_thresholds_that_are_not_certified_have_no_certificate(
    database: Database, certified: Callable[..., int]
) -> None:
    certified("empirical")
    assert states(database) == []
    assert expire_certificates(database) == []


def test_flags_that_are_mostly_real_make_it_expire_for_good(
    database: Database,
    certified: Callable[..., int],
    upload: Callable[[int, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threshold = certified()
    upload(300, 90)
    judge(database, "real")
    (state,) = states(database)
    assert (state.flagged_judged, state.flagged_reals, state.contradicted) == (50, 50, True)
    (row,) = expire_certificates(database)
    assert (row.threshold_id, row.policy, row.evidence) == (threshold, "default", "verdicts")
    assert "50 of 50 flagged photos that were judged blind are real, too many for an FPR of 5 %" in row.detail
    assert expire_certificates(database) == [], "it expires once"
    (state,) = states(database)
    assert state.words.startswith("this threshold's certificate has expired on 2")
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    result = CliRunner().invoke(threshold_group, ["check", "--json"], catch_exceptions=False)
    (shown,) = json.loads(result.stdout)
    assert (result.exit_code, shown["expired"], shown["judged"]) == (1, True, 70)


def test_flags_that_are_mostly_fakes_leave_it_valid(
    database: Database, certified: Callable[..., int], upload: Callable[[int, int], None]
) -> None:
    certified()
    upload(300, 90)
    judge(database, "fake")
    assert expire_certificates(database) == []
    (state,) = states(database)
    assert (state.contradicted, state.judged) == (False, 70)
    assert "valid after 70 blind verdicts" in state.words


def test_to_set_the_same_threshold_again_does_not_make_its_evidence_go_away(
    database: Database, certified: Callable[..., int], upload: Callable[[int, int], None]
) -> None:
    first = certified()
    upload(300, 90)
    judge(database, "real")
    second = certified()
    assert second != first
    assert [row.threshold_id for row in expire_certificates(database)] == [second]


def test_drift_makes_it_expire(database: Database, version_id: int, certified: Callable[..., int]) -> None:
    threshold = certified()
    for days_ago, level in ((20, 0.2), (1, 0.6)):
        images = [{"id": f"{days_ago}-{n}", "account_id": "a", "url": "u"} for n in range(150)]
        made: dict[str, Any] = {"version_id": version_id, "engine": "eager", "device": "cpu"}
        made["created_at"] = datetime.now(UTC) - timedelta(days=days_ago)
        scores = [made | {"image_id": image["id"], "score": level + n / 1000} for n, image in enumerate(images)]
        with database.writing() as session:
            session.execute(insert(Image), images)
            session.execute(insert(Score), scores)
    (row,) = expire_certificates(database)
    assert (row.threshold_id, row.policy, row.evidence) == (threshold, "default", "drift")
    assert "the population is another one" in row.detail
    (state,) = states(database)
    assert (bool(state.expired), state.contradicted) == (True, False)


def test_expiries_of_a_worker_that_was_quicker_are_not_recorded_twice(
    database: Database, certified: Callable[..., int], upload: Callable[[int, int], None]
) -> None:
    threshold = certified()
    upload(300, 90)
    judge(database, "real")
    with database.writing() as session:
        session.add(Expiry(threshold_id=threshold, policy="default", evidence="verdicts", detail="x"))
    assert expire_certificates(database) == []


def test_the_watch_and_the_metrics_say_so(
    database: Database,
    certified: Callable[..., int],
    upload: Callable[[int, int], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    certified()
    upload(300, 90)
    judge(database, "real")
    assert CertificateWatch(database, "worker 1").step() is False
    assert "policy 'default': this threshold's certificate has expired on" in caplog.text
    caplog.clear()
    assert CertificateWatch(database, "worker 2").step() is False, "worker 1 has just looked"
    assert caplog.text == ""
    collector = CertificateCollector()
    with database.reading() as session:
        collector.read(session)
    found = {sample.name: sample.value for family in collector.families() for sample in family.samples}
    assert found["unmask_certificate_expired"] == 1
    assert found["unmask_certificate_evidence"] > 1
