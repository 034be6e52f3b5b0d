"""An appealed photo is scored by the active model: once, as the file that was scored before, and without a flag."""

from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

import worker.pipeline.on_demand
from db.policy.scores import Provenance
from db.schema import Flag, Request, Score
from db.store.session import Database
from db.work import images, on_demand, previews
from db.work.images import NewImage
from trainer.pixels.preprocess import decode
from worker.pipeline.on_demand import fulfil
from worker.pipeline.service import Service


def scores_of(session: Session, image_id: str) -> list[Score]:
    """Every score of an image, the latest first."""
    return list(session.scalars(select(Score).where(Score.image_id == image_id).order_by(Score.id.desc())))


@pytest.fixture
def asked(database: Database, service: Service) -> int:
    """A photo that another version scored, and a request for the active one's score."""
    with database.writing() as session:
        images.add_images(session, [NewImage("a", "ada", "a.jpg")], 60)
    service.score(["a"])
    with database.writing() as session:
        active = service.models.pair.active.served.id
        session.connection().exec_driver_sql(f"UPDATE model_versions SET state = 'retired' WHERE id = {active}")  # noqa: S608
        session.connection().exec_driver_sql(f"UPDATE model_versions SET state = 'active' WHERE id <> {active}")  # noqa: S608
    service.models.follow()
    with database.writing() as session:
        return on_demand.add_request(session, "rescore", "a", "lee")


def state_of(database: Database, request_id: int) -> tuple[str, str | None]:
    with database.reading() as session:
        request = session.get_one(Request, request_id)
        return request.state, request.reason


def test_the_score_is_the_active_models_and_flags_nothing(
    database: Database, service: Service, asked: int, media: Path
) -> None:
    model = service.models.pair.active
    fulfil(service, [asked])
    assert state_of(database, asked) == ("done", None)
    with database.reading() as session:
        latest = scores_of(session, "a")[0]
        assert len(scores_of(session, "a")) == 2
        assert Provenance(latest.version_id, latest.engine, latest.device) == model.made_by
        assert latest.score == model.watched.score([decode((media / "a.jpg").read_bytes()).pixels])[0]
        assert session.scalars(select(Flag)).all() == []
    fulfil(service, [asked])
    with database.reading() as session:
        assert len(scores_of(session, "a")) == 2


def test_a_preview_comes_with_a_small_copy_for_lists(database: Database, service: Service) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage("a", "ada", "a.jpg")], 60)
        wanted = on_demand.add_request(session, "preview", "a", "lee")
    fulfil(service, [wanted])
    with database.reading() as session:
        photo, thumb = previews.read_picture(session, "a", previews.PHOTO), previews.read_thumb(session, "a")
    assert photo is not None
    assert thumb is not None
    assert 0 < len(thumb) < len(photo)


def test_a_map_waits_its_turn_in_the_record_and_keeps_no_worker_waiting(
    database: Database, service: Service, asked: int
) -> None:
    fulfil(service, [asked])
    with database.writing() as session:
        wanted = on_demand.add_request(session, "heatmap", "a", "lee")
    with worker.pipeline.on_demand._one_heatmap:  # noqa: SLF001 - as while another is made
        fulfil(service, [wanted])
    with database.reading() as session:
        request = session.get_one(Request, wanted)
        assert (request.state, request.attempts) == ("pending", 0)
        assert request.next_attempt_at > request.created_at
    fulfil(service, [wanted])
    assert state_of(database, wanted) == ("done", None)


def test_a_file_that_has_changed_gets_no_score(database: Database, service: Service, asked: int, media: Path) -> None:
    with (media / "a.jpg").open("ab") as file:
        file.write(b"\0")
    fulfil(service, [asked])
    assert state_of(database, asked) == ("failed", "changed")
    with database.reading() as session:
        assert len(scores_of(session, "a")) == 1
