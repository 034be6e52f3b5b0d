"""Golden items are mixed in by a lead's share, measure reviewers, and move no live rate; figures are private."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from db.access import audit
from db.errors import ConflictError, DbError, NotFoundError
from db.quality import golden, reviewers, samples
from db.quality.live_precision import live_rates
from db.quality.sampling import Sizes, draw_strata
from db.review import reviews
from db.review.reviews import Decision
from db.schema import Sample, Verdict
from db.store.session import Database

OpenCase = Callable[..., int]
pytestmark = pytest.mark.both  # databases can differ here


@pytest.fixture
def judged(
    database: Database,
    add_images: Callable[..., list[str]],
    record: Callable[..., list[str]],
    set_threshold: Callable[..., int],
) -> list[int]:
    """Twelve samples, of which ada judged all: six flagged ones AI-generated, and the others real."""
    set_threshold(0.5)
    names = [f"p{number:02}" for number in range(12)]
    for name in names:
        add_images(name, account_id=name)
    record({name: (0.9 if number < 6 else 0.1) for number, name in enumerate(names)})
    with database.writing() as session:
        draw_strata(session, Sizes(50, 50, 50), "lee")
    ids = []
    while found := take(database, "ada"):
        judge(database, found, "ada", "fake" if image_of(database, found) < "p06" else "real")
        ids.append(found)
    return sorted(ids)


def take(database: Database, reviewer: str) -> int | None:
    with database.writing() as session:
        found = samples.next_sample(session, reviewer, 600)
        return found.sample_id if found is not None else None


def image_of(database: Database, sample_id: int) -> str:
    with database.reading() as session:
        return session.get_one(Sample, sample_id).image_id


def judge(database: Database, sample_id: int, reviewer: str, verdict: str) -> None:
    with database.writing() as session:
        samples.record_verdict(session, sample_id, reviewer, verdict)


def make_golden(database: Database, ids: list[int], share: float) -> None:
    with database.writing() as session:
        for sample_id in ids:
            fake = session.get_one(Sample, sample_id).image_id < "p06"
            golden.add_golden(session, sample_id, "fake" if fake else "real", "lee")
        golden.set_share(session, share, "lee")


def test_golden_items_come_to_others_once_each_and_move_no_live_rate(database: Database, judged: list[int]) -> None:
    with database.reading() as session:
        before = live_rates(session)
    make_golden(database, judged[:4], 0.5)
    assert take(database, "ada") is None  # nobody judges a photo twice
    seen = []
    for _ in range(60):
        found = take(database, "bob")
        if found is not None:
            judge(database, found, "bob", "real")
            seen.append(found)
        else:
            with database.writing() as session:  # another verdict, so that chance decides anew
                session.add(Verdict(sample_id=judged[-1], reviewer=f"bob {len(seen)}", verdict="unsure"))
            break
    assert set(seen) <= set(judged[:4])
    with database.reading() as session:
        assert live_rates(session) == before
        assert all(session.get_one(Sample, sample_id).judged for sample_id in judged)


def test_a_share_of_none_mixes_in_none_and_a_share_is_a_share(database: Database, judged: list[int]) -> None:
    make_golden(database, judged, 0.0)
    assert [take(database, f"reviewer {number}") for number in range(20)] == [None] * 20
    with database.writing() as session:
        golden.set_share(session, 0.5, "lee")
        found = [golden.next_golden(session, f"reviewer {number}") for number in range(200)]
    assert 70 < sum(one is not None for one in found) < 130
    with pytest.raises(DbError, match="share"), database.writing() as session:
        golden.set_share(session, 0.9, "lee")


def test_only_a_judged_sample_becomes_golden_and_only_once(database: Database, judged: list[int]) -> None:
    make_golden(database, judged[:1], 0.1)
    with database.writing() as session:
        with pytest.raises(ConflictError, match="already"):
            golden.add_golden(session, judged[0], "fake", "lee")
        with pytest.raises(NotFoundError):
            golden.add_golden(session, 10**9, "fake", "lee")
        with pytest.raises(DbError, match="verdict"):
            golden.add_golden(session, judged[1], "unsure", "lee")


def test_figures_count_golden_items_outcomes_and_seconds_by_week(
    database: Database, judged: list[int], open_case: OpenCase
) -> None:
    by_image = {image_of(database, sample_id): sample_id for sample_id in judged}
    known = [by_image[name] for name in ("p00", "p01", "p11")]  # two AI-generated ones and a real one
    make_golden(database, known, 0.5)
    with database.writing() as session:
        for sample_id, verdict in zip(known, ("fake", "real", "fake"), strict=True):
            session.add(Verdict(sample_id=sample_id, reviewer="bob", verdict=verdict))
    stood, overturned = open_case("x"), open_case("y")
    with database.writing() as session:
        audit.log(session, "bob", "viewed", case_id=stood)
        session.flush()
        audit.log(session, "bob", "decided", case_id=stood)
        for case_id in (stood, overturned):
            reviews.decide_case(session, Decision(case_id, 1, "bob", "confirmed"))
            reviews.appeal_decision(session, case_id, 2, "cyn", "no")
        reviews.decide_case(session, Decision(stood, 3, "ada", "confirmed"))
        reviews.decide_case(session, Decision(overturned, 3, "ada", "dismissed"))
    with database.reading() as session:
        week, whole = reviewers.reviewer_weeks(session, "bob")
        disputed = reviewers.disputed_samples(session)
    assert week.week is not None
    assert whole.week is None
    assert (whole.confirmed, whole.missed_fakes, whole.accused_reals) == (2, 1, 1)
    assert (whole.golden and round(whole.golden.value, 3), whole.stands and whole.stands.value) == (0.333, 0.5)
    assert whole.seconds is not None
    assert 0 <= whole.seconds < 60
    assert [sample_id for sample_id, _ in disputed] == sorted(known[1:])


def test_agreement_is_measured_on_what_several_people_judged(database: Database, judged: list[int]) -> None:
    with database.writing() as session:
        for number, sample_id in enumerate(judged):
            said = session.scalars(select(Verdict.verdict).where(Verdict.sample_id == sample_id)).one()
            other = said if number else ("real" if said == "fake" else "fake")
            session.add(Verdict(sample_id=sample_id, reviewer="bob", verdict=other))
    with database.reading() as session:
        found = reviewers.agreement(session)
    assert (found.photos_judged, found.cases_judged, found.cases) == (12, 0, None)
    assert found.photos is not None
    assert 0.5 < found.photos.value < 1
    ((one, two, count, kappa),) = found.by_pair
    assert (one, two, count) == ("ada", "bob", 12)
    assert kappa is not None
    assert kappa.low < kappa.value < 1
