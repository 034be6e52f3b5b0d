"""A photo whose file says that it is AI-generated, from its bytes to the case, the verdict and the webhook."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from db.file_signals import AI
from db.policy import signal_actions, signal_changes
from db.policy.case_changes import Budget
from db.policy.verdicts import VerdictReader
from db.review.cases import flagged_photos
from db.schema import Case
from db.store.session import Database
from db.work import images
from db.work.deliveries import LeasedDelivery
from db.work.images import NewImage
from tests.unit.worker.provenance.files import exif, picture
from worker.background.events import image_event
from worker.pipeline.service import Service

PARAMETERS = b"UNICODE\0" + "a face\nSteps: 20, Sampler: Euler a, Seed: 1".encode("utf-16-be")
EVIDENCE = "Stable Diffusion parameters (EXIF UserComment, unsigned)"


@pytest.mark.both
def test_a_photo_that_says_it_is_generated_is_flagged_with_its_evidence(
    database: Database, service: Service, media: Path
) -> None:
    (media / "says.jpg").write_bytes(picture("JPEG", exif=exif({}, {0x9286: PARAMETERS})))
    (media / "silent.jpg").write_bytes(picture("JPEG"))
    with database.writing() as session:
        signal_changes.set_actions(session, "default", {AI: signal_actions.FLAG}, Budget(10))
        added = [NewImage(name, f"account of {name}", f"{name}.jpg") for name in ("says", "silent")]
        images.add_images(session, added, 60)
    service.score(["says", "silent"])
    with database.reading() as session:
        outcomes = VerdictReader().find_many(session, ["says", "silent"])
        (case,) = session.scalars(select(Case))
        (photo,) = flagged_photos(session, case.id)
    assert (case.account_id, photo.kind, photo.evidence) == ("account of says", "provenance", EVIDENCE)
    assert outcomes["silent"].verdict.signals == []
    assert outcomes["silent"].verdict.state == "scored"
    delivery = LeasedDelivery(1, "image.flagged", datetime.now(UTC), 1)
    told = image_event(delivery, outcomes["says"]).model_dump(mode="json")["data"]
    assert (told["flagged"], told["flagged_by"], told["evidence"]) == (True, "provenance", EVIDENCE)
    assert [(one["kind"], one["action"]) for one in told["signals"]] == [(AI, "flag")]
