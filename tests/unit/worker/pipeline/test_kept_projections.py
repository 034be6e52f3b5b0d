"""A worker keeps the projections of flagged photos, of the highest scores, and of a random share of the others."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from db.policy import thresholds
from db.schema import Projection
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from trainer.detector.card_results import Reference
from trainer.detector.checkpoint import load
from trainer.pixels.preprocess import decode
from worker.core.settings import WorkerSettings
from worker.inference.model_server import ModelServer, highest_from
from worker.inference.scorer import Scorer
from worker.pipeline.service import Service


@pytest.fixture
def score(database: Database, worker_settings: WorkerSettings, registered: list[int]) -> Callable[..., dict[str, str]]:
    """``score(projection_sample=1.0)``: what a worker with these settings kept of two photos, and why."""
    assert registered

    def run(**settings: float) -> dict[str, str]:
        own = worker_settings.model_copy(update=settings)
        with database.writing() as session:
            images.add_images(session, [NewImage(name, name, f"{name}.jpg") for name in "ab"], 60)
        connected = Database(own.database_url)
        service = Service(own, connected, ModelServer.open(own, connected))
        service.score(["a", "b"])
        service.close()
        with database.reading() as session:
            return dict(session.execute(select(Projection.image_id, Projection.kind)).all())

    return run


def test_a_sample_is_kept_as_the_detector_sees_it(
    database: Database, score: Callable[..., dict[str, str]], media: Path, tiny_checkpoint: Path
) -> None:
    assert score(projection_sample=1.0) == {"a": "sample", "b": "sample"}
    pixels = decode((media / "a.jpg").read_bytes()).pixels
    expected = Scorer.open(tiny_checkpoint, "cpu", engine="eager").read([pixels])[0].projection
    with database.reading() as session:
        assert set(session.scalars(select(Projection.projection))) == {expected}
    assert len(set(expected)) > 5, "numbers that are all alike show nothing"


def test_flagged_photos_are_kept(
    database: Database, registered: list[int], score: Callable[..., dict[str, str]]
) -> None:
    with database.writing() as session:
        thresholds.set_value(session, registered[0], "default", 1e-6, "ada", "")
    assert score(projection_sample=0.0) == {"a": "flagged", "b": "flagged"}


def test_without_a_reason_nothing_is_kept(score: Callable[..., dict[str, str]]) -> None:
    assert score(projection_sample=0.0) == {}


def test_a_worker_that_is_told_so_keeps_nothing_even_of_flagged_photos(
    database: Database, registered: list[int], score: Callable[..., dict[str, str]]
) -> None:
    with database.writing() as session:
        thresholds.set_value(session, registered[0], "default", 1e-6, "ada", "")
    assert score(projection_sample=0.0, projection_share=0.0) == {}


@pytest.mark.parametrize(("share", "score"), [(0.05, 0.95), (0.5, 0.5), (1, 0.0), (0, float("inf"))])
def test_the_highest_scores_are_those_that_few_real_photos_of_the_reference_reach(
    tiny_checkpoint: Path, share: float, score: float
) -> None:
    _, card = load(tiny_checkpoint)
    assert highest_from(card, share) == float("inf"), "this card has no reference"
    reference = Reference(name="reals", scores=tuple(number / 100 for number in range(100)))
    assert highest_from(card.model_copy(update={"reference": reference}), share) == score
