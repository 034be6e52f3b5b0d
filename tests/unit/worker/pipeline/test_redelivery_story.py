"""A photo near the threshold, from its bytes over its other deliveries to the case, the verdict and the webhook."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, update

from db.models import versions
from db.policy import policies, thresholds
from db.policy.case_changes import lock_versions
from db.policy.verdicts import Outcome, VerdictReader
from db.review.cases import flagged_photos
from db.schema import Case, Image, Score
from db.store.session import Database
from db.work import images
from db.work.deliveries import LeasedDelivery
from db.work.images import NewImage
from trainer.pixels.preprocess import decode
from trainer.pixels.views import REDELIVERIES, REDELIVERY, redeliveries
from worker.background.events import image_event
from worker.pipeline.service import Service

Choose = Callable[..., None]


@pytest.fixture
def expected(service: Service, photo: Path) -> list[float]:
    """The scores of the photo and of its other deliveries: the same for everybody who asks."""
    data = photo.read_bytes()
    scorer = service.models.pair.active.scorer
    return scorer.score([decode(data).pixels, *redeliveries(data)])


@pytest.fixture
def choose(database: Database, service: Service, registered: list[int]) -> Choose:
    """``choose(0.5, "note")``: the threshold of the policy default, and what it does with unstable photos."""

    def change(threshold: float, stability: str | None = None) -> None:
        with database.writing() as session:
            lock_versions(session)
            thresholds.set_value(session, registered[0], "default", threshold, "ada", "")
            if stability is not None:
                policies.set_stability(session, "default", stability)
        service.models.follow()

    return change


def scored(database: Database, service: Service, *image_ids: str) -> dict[str, Outcome]:
    with database.writing() as session:
        images.add_images(session, [NewImage(name, f"account of {name}", "a.jpg") for name in image_ids], 60)
    service.score(list(image_ids))
    with database.reading() as session:
        return dict(VerdictReader().find_many(session, image_ids))


def limits(database: Database, image_id: str) -> tuple[float | None, float | None, int | None, int | None]:
    with database.reading() as session:
        row = session.scalars(select(Score).where(Score.image_id == image_id)).one()
        return row.low, row.high, row.deliveries, row.recipe


@pytest.mark.both
def test_a_photo_that_crosses_the_threshold_when_delivered_again_waits_for_a_person(
    database: Database, service: Service, expected: list[float], choose: Choose
) -> None:
    choose((min(expected) + max(expected)) / 2, "note")
    found = scored(database, service, "a")["a"]
    assert (found.verdict.verdict, found.verdict.flagged, found.case_state) == ("unstable", None, "open")
    assert found.verdict.score == pytest.approx(expected[0], abs=1e-6)
    low, high, count, recipe = limits(database, "a")
    assert low == pytest.approx(min(expected), abs=1e-6)
    assert high == pytest.approx(max(expected), abs=1e-6)
    assert (count, recipe) == (REDELIVERIES, REDELIVERY)
    with database.reading() as session:
        (photo,) = flagged_photos(session, session.scalars(select(Case.id)).one())
    assert (photo.kind, photo.image.id) == ("unstable", "a")
    told = image_event(LeasedDelivery(1, "image.scored", datetime.now(UTC), 1), found).model_dump(mode="json")["data"]
    assert (told["verdict"], told["flagged"], told["score_low"]) == ("unstable", None, low)


def test_only_a_photo_that_stays_above_is_flagged_and_one_that_stays_below_is_clear(
    database: Database, service: Service, expected: list[float], choose: Choose
) -> None:
    choose(min(expected) - 1e-4, "note")
    assert scored(database, service, "above")["above"].verdict.verdict == "flagged"
    choose(max(expected) + 1e-4)
    assert scored(database, service, "below")["below"].verdict.verdict == "clear"
    assert limits(database, "above") == limits(database, "below")  # both near it: the same answer for the same file


def test_a_photo_far_from_the_threshold_or_of_a_policy_that_is_off_is_scored_once(
    database: Database, service: Service, expected: list[float], choose: Choose
) -> None:
    choose(0.9999, "note")
    assert scored(database, service, "far")["far"].verdict.verdict == "clear"
    choose(expected[0], "off")
    assert scored(database, service, "off")["off"].verdict.verdict == "flagged"
    assert limits(database, "far") == limits(database, "off") == (None, None, None, None)


def test_a_suspect_is_delivered_again_in_the_sandbox_with_the_same_answer(
    database: Database, service: Service, expected: list[float], choose: Choose
) -> None:
    choose((min(expected) + max(expected)) / 2, "note")
    with database.writing() as session:
        images.add_images(session, [NewImage("a", "account", "a.jpg")], 60)
        session.execute(update(Image).values(losses=1))
    service.score(["a"])
    low, high, *_ = limits(database, "a")
    assert low == pytest.approx(min(expected), abs=1e-6)
    assert high == pytest.approx(max(expected), abs=1e-6)


def test_a_shadow_scores_beside_and_gets_no_limits(
    database: Database, service: Service, registered: list[int], expected: list[float], choose: Choose
) -> None:
    with database.writing() as session:
        versions.start_shadow(session, versions.by_name(session, "other"))
    choose((min(expected) + max(expected)) / 2, "note")
    scored(database, service, "a")
    with database.reading() as session:
        rows = session.execute(select(Score.version_id, Score.low.is_not(None))).all()
    assert dict(rows) == {registered[0]: True, registered[1]: False}
