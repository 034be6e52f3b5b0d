"""A photo that two detectors flag: the verdict and the case say of each how rare such a photo is."""

from pathlib import Path

import pytest
from sqlalchemy import select

from db.console.views.case_photos import list_case_photos
from db.models import versions
from db.models.key_scores import DETECTOR
from db.policy import thresholds
from db.policy.verdicts import VerdictReader
from db.schema import Case, Signal
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from trainer.detector.card import Card
from trainer.detector.checkpoint import key_files
from trainer.pixels.preprocess import FINGERPRINT
from worker.commands.model import store_checkpoint
from worker.core.settings import WorkerSettings
from worker.pipeline.service import Service


@pytest.fixture
def version_id(database: Database, fused_checkpoint: Path, worker_settings: WorkerSettings) -> int:
    """The fused detector, registered and active."""
    told = Card.read(fused_checkpoint)
    files = [*key_files(fused_checkpoint, told), fused_checkpoint]
    *_, sha256 = [store_checkpoint(file, worker_settings.models_dir) for file in files]
    card = told.model_dump(mode="json")
    with database.writing() as session:
        return versions.register(session, "both", sha256, FINGERPRINT, card).id


def score(database: Database, settings: WorkerSettings) -> None:
    with database.writing() as session:
        images.add_images(session, [NewImage(name, f"account of {name}", f"{name}.jpg") for name in "ab"], 60)
    service = Service.open(settings)
    try:
        service.score(["a", "b"])
        service.score(["a", "b"])  # a message that came twice
    finally:
        service.close()


@pytest.mark.both
@pytest.mark.usefixtures("media")
def test_each_detector_of_two_says_how_rare_a_flagged_photo_is(
    database: Database, version_id: int, worker_settings: WorkerSettings
) -> None:
    with database.writing() as session:
        thresholds.set_value(session, version_id, "default", 1e-9, "ada", "")
    score(database, worker_settings)
    with database.reading() as session:
        verdict = VerdictReader().find_many(session, ["a"])["a"].verdict
        first_case = session.scalars(select(Case).where(Case.account_id == "account of a")).one()
        (photo,) = list_case_photos(session, first_case.id, blind=False)
        (hidden,) = list_case_photos(session, first_case.id, blind=True)
    assert [(one["kind"], one["where"]) for one in verdict.signals] == [(DETECTOR, "tiny"), (DETECTOR, "other")]
    assert [one["one_in_at_least"] for one in verdict.signals] == pytest.approx([1.9, 1.01], abs=0.05)
    tiny, other = photo.detectors
    assert tiny.startswith("tiny: 0.")
    assert tiny.endswith("1 in 1.8 real photos looks like this (95 % sure; none of the 4 of 'eval reals')")
    assert "1 in 1.3 real photos looks like this (3 of the 4 of 'eval reals'" in other
    assert (photo.signals, hidden.detectors) == ([], ())


@pytest.mark.usefixtures("media")
def test_of_photos_that_are_not_flagged_no_key_is_kept(
    database: Database, version_id: int, worker_settings: WorkerSettings
) -> None:
    with database.writing() as session:
        thresholds.set_value(session, version_id, "default", 1.0, "ada", "")
    score(database, worker_settings)
    with database.reading() as session:
        assert session.scalars(select(Signal)).all() == []
