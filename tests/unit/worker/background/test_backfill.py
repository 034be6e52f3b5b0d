"""A backfill is done while nothing else is, at its rate; a killed worker loses nothing, and no case opens by itself."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, update

from db.errors import ConflictError, NotFoundError
from db.models import versions
from db.policy import case_changes, thresholds
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget
from db.schema import Case, ModelVersion, Policy, Rescore, Score
from db.schema.clock import moment
from db.store.session import Database
from db.work import backfills, images
from db.work.images import NewImage
from worker.background.backfill import Backfiller
from worker.pipeline.service import Service

IDS = ["a", "b", "c", "d"]


@pytest.fixture
def rescorer(database: Database, service: Service, registered: list[int]) -> Backfiller:
    """A worker that has scored four images with the active version, and has just loaded a shadow."""
    with database.writing() as session:
        session.add(Policy(name="vip", created_by="test"))
        session.flush()
        images.add_images(
            session, [NewImage(name, name, f"{name}.jpg", "vip" if name == "d" else "default") for name in IDS], 60
        )
    service.score(IDS)
    with database.writing() as session:
        versions.start_shadow(session, session.get_one(ModelVersion, registered[1]))
    return Backfiller(service)


def begin(database: Database, service: Service, version_id: int, policy: str | None = None) -> int:
    with database.writing() as session:
        version = session.get_one(ModelVersion, version_id)
        rescore_id = backfills.start_rescore(session, version, "ada", 1e6, policy).id
    service.models.follow()
    return rescore_id


def run(rescorer: Backfiller) -> None:
    while rescorer.step():
        pass


def row_of(database: Database, rescore_id: int) -> Rescore:
    with database.reading() as session:
        return session.get_one(Rescore, rescore_id)


def scored_by(database: Database, version_id: int) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(Score.image_id).where(Score.version_id == version_id)))


def test_every_image_that_others_have_scored_is_scored_once_and_then_it_is_done(
    database: Database, service: Service, registered: list[int], rescorer: Backfiller
) -> None:
    with database.reading() as session:
        assert backfills.count_unscored(session, registered[1]) == 4
    rescore_id = begin(database, service, registered[1])
    run(rescorer)
    row = row_of(database, rescore_id)
    assert (row.state, row.scored, row.failed, row.in_hand, row.passes) == ("done", 4, 0, 0, 1)
    assert scored_by(database, registered[1]) == set(IDS)
    with database.reading() as session:
        assert not backfills.any_running(session)


def test_it_can_be_of_one_policy(
    database: Database, service: Service, registered: list[int], rescorer: Backfiller
) -> None:
    begin(database, service, registered[1], "vip")
    run(rescorer)
    assert scored_by(database, registered[1]) == {"d"}


def test_what_a_killed_worker_had_in_hand_is_found_in_another_pass(
    database: Database, service: Service, registered: list[int], rescorer: Backfiller
) -> None:
    rescore_id = begin(database, service, registered[1])
    with database.writing() as session:
        part = backfills.lease_batch(session, registered, 2)
    assert part is not None
    assert [photo.image_id for photo in part.photos] == ["a", "b"]  # and it is never heard of again
    run(rescorer)
    assert scored_by(database, registered[1]) == {"c", "d"}
    row = row_of(database, rescore_id)
    assert (row.state, row.passes, row.cursor) == ("running", 2, "")
    assert not rescorer.step(), "the next pass gives whoever has them time to report"
    with database.writing() as session:
        session.execute(update(Rescore).values(next_at=moment(-1)))
    run(rescorer)
    assert scored_by(database, registered[1]) == set(IDS)
    assert row_of(database, rescore_id).state == "done"


def test_its_rate_is_for_all_workers_together(
    database: Database, service: Service, registered: list[int], rescorer: Backfiller
) -> None:
    rescore_id = begin(database, service, registered[1])
    with database.writing() as session:
        session.get_one(Rescore, rescore_id).rate_per_s = 0.001
    assert rescorer.step()
    assert not rescorer.step()
    assert len(scored_by(database, registered[1])) == 1


def test_uploads_come_first(database: Database, service: Service, registered: list[int], rescorer: Backfiller) -> None:
    begin(database, service, registered[1])
    service.held.ids.add("an upload")  # as if it were in hand
    assert not rescorer.step()
    service.held.ids.clear()  # and now it is scored
    assert rescorer.step()


def test_photos_that_are_gone_or_changed_fail_alone(
    database: Database, service: Service, registered: list[int], rescorer: Backfiller, media: Path
) -> None:
    rescore_id = begin(database, service, registered[1])
    (media / "a.jpg").unlink()
    (media / "b.jpg").write_bytes((media / "b.jpg").read_bytes() + b"another file")
    run(rescorer)
    row = row_of(database, rescore_id)
    assert (row.state, row.scored, row.failed) == ("done", 2, 2)
    assert scored_by(database, registered[1]) == {"c", "d"}


def test_old_images_flag_when_their_threshold_is_applied_and_not_before(
    database: Database,
    service: Service,
    registered: list[int],
    rescorer: Backfiller,
    forging: Callable[[Database], None],
) -> None:
    """A backfill is no way around the budget."""
    forging(database)
    with database.writing() as session:
        thresholds.set_value(session, registered[0], "default", 0.0, "ada", "")
        session.execute(update(Score).where(Score.image_id == "a").values(version_id=registered[1]))
    begin(database, service, registered[0])
    run(rescorer)
    assert scored_by(database, registered[0]) == set(IDS)
    with database.reading() as session:
        assert session.scalars(select(Case)).all() == []
    with database.writing() as session:
        assert case_changes.apply_thresholds(session, registered[0], ChangeAuthor("ada"), Budget(4)).opened == 4


def test_only_what_workers_have_is_rescored_and_once_at_a_time(
    database: Database, service: Service, registered: list[int], rescorer: Backfiller
) -> None:
    with database.writing() as session:
        versions.stop_shadow(session, session.get_one(ModelVersion, registered[1]))
    with pytest.raises(ConflictError, match="model other is candidate, which no worker loads"):
        begin(database, service, registered[1])
    rescore_id = begin(database, service, registered[0])
    with pytest.raises(ConflictError, match=f"rescore {rescore_id} of model tiny is running"):
        begin(database, service, registered[0])
    with database.writing() as session:
        backfills.stop_rescore(session, rescore_id)
        with pytest.raises(ConflictError, match=f"rescore {rescore_id} is stopped"):
            backfills.stop_rescore(session, rescore_id)
        with pytest.raises(NotFoundError, match="rescore 4711 is not in the record"):
            backfills.stop_rescore(session, 4711)
    assert not rescorer.step()
