"""What chance draws is judged blind, by people who have not seen its score, and what they say stays."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from db.access import audit
from db.errors import ConflictError, DatabaseError, DbError, DeniedError, HeldError, NotFoundError, SecondPersonError
from db.privacy import erasure, retention
from db.privacy.retention import RetentionSettings
from db.quality import samples
from db.quality.sampling import Sizes, draw_strata, week_of
from db.schema import Draw, Flag, Image, Review, Sample, Score, Verdict
from db.schema.clock import moment
from db.store.session import Database

AddImages = Callable[..., list[str]]
Record = Callable[..., list[str]]
SetThreshold = Callable[..., int]
ALL = Sizes(100, 100, 100)
pytestmark = pytest.mark.both  # databases can differ here


@pytest.fixture
def scored(database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold) -> Database:
    """A hundred photos that scored 0.00 to 0.99; the upper ten are flagged."""
    set_threshold(0.9)
    names = [f"p{number:02}" for number in range(100)]
    for name in names:
        add_images(name, account_id=name)
    record({name: number / 100 for number, name in enumerate(names)})
    return database


def drawn(database: Database, sizes: Sizes = ALL, **more: Any) -> list[Draw]:
    with database.writing() as session:
        rows = draw_strata(session, sizes, "lee", **more)
        session.expunge_all()
    return rows


def next_sample(database: Database, reviewer: str, lease_s: float = 600) -> samples.BlindSample | None:
    with database.writing() as session:
        return samples.next_sample(session, reviewer, lease_s)


def judge(database: Database, sample_id: int, reviewer: str, verdict: str = "real") -> None:
    with database.writing() as session:
        samples.record_verdict(session, sample_id, reviewer, verdict)


def test_whoever_has_seen_the_score_in_a_case_neither_gets_nor_judges_the_sample(scored: Database) -> None:
    drawn(scored, Sizes(1, 1, 1))
    with scored.writing() as session:
        sample = session.scalars(select(Sample).join(Draw).where(Draw.stratum == "flagged")).one()
        case_id = session.scalars(select(Flag.case_id).where(Flag.image_id == sample.image_id)).one()
        session.execute(update(Sample).where(Sample.id != sample.id).values(judged=True))
        audit.log(session, "bob", "viewed", case_id=case_id, detail="blind")
        audit.log(session, "ada", "viewed", case_id=case_id)
        sample_id = sample.id
    assert next_sample(scored, "ada") is None
    assert next_sample(scored, "bob", lease_s=0) is not None
    with scored.writing() as session:
        audit.log(session, "bob", "viewed", case_id=case_id)
    with pytest.raises(DeniedError, match="its score is known to them"):
        judge(scored, sample_id, "bob")


# Drawing


def test_each_stratum_is_drawn_by_itself_and_out_of_how_many_is_kept(scored: Database) -> None:
    found = drawn(scored, Sizes(5, 2, 9))
    assert [(row.stratum, row.population, row.drawn) for row in found if row.population] == [
        ("flagged", 10, 5), ("below", 4, 2), ("unflagged", 86, 9),
    ]  # fmt: skip
    with scored.reading() as session:
        statement = select(Draw, Sample, Score.score).join_from(Draw, Sample).join(Score)
        for row, sample, score in session.execute(statement):
            assert row.low <= score
            assert score < row.high or row.stratum == "flagged"
            assert sample.probability == row.drawn / row.population


def test_every_photo_of_a_stratum_has_the_same_chance(scored: Database) -> None:
    counts: Counter[str] = Counter()
    for _ in range(200):
        with scored.writing() as session:
            draw_strata(session, Sizes(3, 1, 1), "lee")
            chosen = select(Sample.image_id).join(Draw).where(Draw.stratum == "flagged")
            counts.update(session.scalars(chosen).all())
            session.rollback()
    assert sorted(counts) == [f"p{number}" for number in range(90, 100)]
    assert all(30 <= count <= 95 for count in counts.values()), counts  # 60 expected; 5 standard deviations


def test_the_order_of_the_samples_tells_nothing_of_their_scores(scored: Database) -> None:
    drawn(scored)
    with scored.reading() as session:
        ids = session.scalars(select(Sample.image_id).order_by(Sample.id)).all()
    assert len(ids) == 100
    assert ids != sorted(ids)
    flagged = [place for place, name in enumerate(ids) if name >= "p90"]
    assert max(flagged) - min(flagged) > 20


def test_what_was_drawn_from_is_not_drawn_from_again(scored: Database, add_images: AddImages, record: Record) -> None:
    drawn(scored)
    assert drawn(scored) == []
    add_images("new")
    record({"new": 0.95})
    assert sum(row.population for row in drawn(scored)) == 1


def test_a_draw_ends_before_the_oldest_photo_that_waits(
    scored: Database, add_images: AddImages, record: Record
) -> None:
    add_images("late")
    add_images("after")
    record({"after": 0.95})
    assert sum(row.population for row in drawn(scored)) == 100
    record({"late": 0.95})
    assert sum(row.population for row in drawn(scored)) == 2


def test_a_window_is_never_of_two_weeks(scored: Database) -> None:
    with scored.writing() as session:
        for days in range(13):
            ids = [f"p{number:02}" for number in range(days, 100, 13)]
            session.execute(update(Image).where(Image.id.in_(ids)).values(created_at=moment(-86_400.0 * days)))
    found = drawn(scored, days=14)
    assert len({row.since for row in found}) in {2, 3}
    assert all(week_of(row.since) == week_of(row.until - datetime.resolution) for row in found)
    assert sum(row.population for row in found) == 100


def test_weeks_begin_on_mondays() -> None:
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    for day in (23, 25, 29):
        assert week_of(datetime(2026, 11, day, 23, 59, tzinfo=UTC)) == monday


def test_policies_are_drawn_apart_and_those_without_a_threshold_not_at_all(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold
) -> None:
    set_threshold(0.5, "vip")
    for policy in ("vip", "other"):
        add_images(policy, account_id=policy, policy=policy)
        record({policy: 0.9}, policy)
    assert {row.policy for row in drawn(database)} == {"vip"}


def test_leads_who_draw_at_once_draw_no_photo_twice(
    scored: Database, at_once: Callable[[Sequence[Callable[[], Any]]], list[Any]]
) -> None:
    at_once([lambda: drawn(scored), lambda: drawn(scored)])
    with scored.reading() as session:
        assert session.scalar(select(func.sum(Draw.population))) == 100


# Judging


def test_a_reviewer_sees_a_photo_and_no_score_and_keeps_it(scored: Database) -> None:
    drawn(scored)
    first = next_sample(scored, "ada")
    assert first == next_sample(scored, "ada")
    assert next_sample(scored, "bob") != first
    assert first is not None
    with pytest.raises(HeldError, match=f"sample {first.sample_id} is held by ada until"):
        judge(scored, first.sample_id, "bob")
    judge(scored, first.sample_id, "ada", "fake")
    assert next_sample(scored, "ada") != first
    with pytest.raises(ConflictError, match=f"sample {first.sample_id} has been judged already"):
        judge(scored, first.sample_id, "bob")


def test_reviewers_who_ask_at_once_get_different_photos(
    scored: Database, at_once: Callable[[Sequence[Callable[[], Any]]], list[Any]]
) -> None:
    drawn(scored)
    found = at_once([lambda name=name: next_sample(scored, name) for name in ("a", "b", "c", "d")])  # type: ignore[misc]
    assert len({blind.sample_id for blind in found}) == 4


def test_a_lease_ends(scored: Database) -> None:
    drawn(scored)
    first = next_sample(scored, "ada", -1)
    assert next_sample(scored, "bob") == first


def test_what_one_is_unsure_of_another_judges(scored: Database) -> None:
    drawn(scored, Sizes(1, 1, 1))
    first = next_sample(scored, "ada")
    assert first is not None
    judge(scored, first.sample_id, "ada", "unsure")
    with pytest.raises(SecondPersonError, match=f"sample {first.sample_id}: ada has judged it \\(unsure\\)"):
        judge(scored, first.sample_id, "ada", "real")
    assert next_sample(scored, "ada") != first
    assert next_sample(scored, "bob") == first
    judge(scored, first.sample_id, "bob", "real")


def test_nobody_judges_a_photo_of_a_case_that_they_decided(scored: Database, decide: Callable[..., Review]) -> None:
    with scored.reading() as session:
        case_of: dict[str, int] = dict(session.execute(text("SELECT account_id, id FROM cases")).all())
    drawn(scored, Sizes(1, 1, 1))
    with scored.writing() as session:
        (flagged,) = session.scalars(select(Sample.image_id).where(Sample.image_id >= "p90")).all()
        session.execute(update(Sample).where(Sample.image_id != flagged).values(judged=True))
    decide(case_of[flagged], "ada")
    assert next_sample(scored, "ada") is None
    assert next_sample(scored, "bob") is not None


def test_a_verdict_is_one_of_three_about_a_sample_that_is_there(scored: Database) -> None:
    with pytest.raises(DbError, match="verdict 'maybe' is not one of fake, real, unsure"):
        judge(scored, 1, "ada", "maybe")
    with pytest.raises(NotFoundError, match="sample 4711 is not in the record"):
        judge(scored, 4711, "ada")


@pytest.mark.parametrize("statement", ["UPDATE verdicts SET verdict = 'fake'", "DELETE FROM verdicts"])
def test_verdicts_are_appended_never_changed(scored: Database, statement: str) -> None:
    drawn(scored, Sizes(1, 1, 1))
    blind = next_sample(scored, "ada")
    assert blind is not None
    judge(scored, blind.sample_id, "ada")
    with pytest.raises(DatabaseError, match="verdicts are appended, never changed"), scored.writing() as session:
        session.execute(text(statement))
    with scored.reading() as session:
        assert [row.verdict for row in session.scalars(select(Verdict))] == ["real"]


def test_an_erased_photo_is_judged_no_more(scored: Database) -> None:
    drawn(scored)
    with scored.reading() as session:
        assert samples.count_waiting(session) == 100
    for number in range(99):
        erasure.erase_account(scored, f"p{number:02}")
    blind = next_sample(scored, "ada")
    assert blind is not None
    assert blind.image_id == "p99"
    judge(scored, blind.sample_id, "ada")
    assert next_sample(scored, "ada") is None
    with scored.reading() as session:
        assert samples.count_waiting(session) == 0


def test_retention_keeps_what_was_sampled(scored: Database) -> None:
    drawn(scored, Sizes(1, 1, 1))
    retention.apply_retention(scored, RetentionSettings(keep_scores_days=1e-9))
    with scored.reading() as session:
        kept = set(session.scalars(select(Image.id)))
        assert set(session.scalars(select(Sample.image_id))) <= kept
        assert len(kept) == 12  # ten were flagged
