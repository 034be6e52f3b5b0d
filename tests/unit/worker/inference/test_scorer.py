"""Photos that the detector is not for get their reason and no score, and are seen; those it was tried on get one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from db.schema import Image as Row
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from trainer.detector.card import Card
from trainer.detector.card_results import DegradationFinding, Findings, RobustnessFinding
from trainer.detector.checkpoint import SHIPPED
from trainer.pixels.preprocess import Picture
from worker.cli import root
from worker.core.errors import OutOfDomainError
from worker.core.settings import WorkerSettings
from worker.inference import scorer
from worker.inference.model_server import ModelServer
from worker.pipeline.service import Service


def sweep(*rows: tuple[str, int, float]) -> RobustnessFinding:
    degraded = tuple(
        DegradationFinding(kind=k, level=level, tpr=tpr, refitted_tpr=tpr, fpr=0) for k, level, tpr in rows
    )
    return RobustnessFinding(target_fpr=0.005, threshold=0.5, reals=100, fakes=100, rows=degraded)


@pytest.mark.parametrize(
    ("rows", "side"),
    [
        ([("native", 0, 0.9), ("resize", 256, 0.9), ("resize", 64, 0.4), ("resize", 32, 0.02)], 64),
        ([("native", 0, 0.9), ("resize", 256, 0.9), ("resize", 64, 0.2), ("jpeg", 20, 0.9)], 256),
        ([("native", 0, 0.9), ("jpeg", 80, 0.9)], 0),
        ([], 0),
    ],
)
def test_the_floor_is_the_smallest_size_that_was_tried_and_in_which_something_is_seen(
    rows: list[tuple[str, int, float]], side: int
) -> None:
    assert sweep(*rows).smallest_side == side


def picture(width: int, height: int, *, animated: bool = False) -> Picture:
    return Picture(np.zeros((1, 1, 3), np.uint8), width, height, "GIF", animated)


def test_the_shorter_side_counts_and_people_may_set_another_floor() -> None:
    tried = sweep(("native", 0, 0.9), ("resize", 64, 0.4), ("resize", 32, 0.02))
    findings = Findings(judged_sha256="0" * 64, robustness=tried)
    card = Card.read(SHIPPED).model_copy(update={"findings": findings})
    scorer.check_domain(picture(64, 64), card, None)
    scorer.check_domain(picture(500, 63), card, 0)
    with pytest.raises(OutOfDomainError, match=r"too_small: 500x63 pixels \(model .* is for 64 and more\)"):
        scorer.check_domain(picture(500, 63), card, None)
    with pytest.raises(OutOfDomainError, match="too_small"):
        scorer.check_domain(picture(500, 128), card, 129)


def test_a_model_that_was_never_tried_on_small_photos_has_no_floor() -> None:
    card = Card.read(SHIPPED).model_copy(update={"findings": Findings(judged_sha256="0" * 64)})
    scorer.check_domain(picture(16, 16), card, None)


@pytest.fixture
def strict(worker_settings: WorkerSettings, registered: list[int]) -> Callable[[], Service]:  # noqa: ARG001
    settings = worker_settings.model_copy(update={"min_side": 100})
    database = Database(settings.database_url)
    return lambda: Service(settings, database, ModelServer.open(settings, database))


def test_such_a_photo_is_unusable_seen_and_counted_and_its_neighbour_is_scored(
    database: Database, strict: Callable[[], Service], media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (300, 80)).save(media / "small.png")
    frames = [Image.new("RGB", (200, 200), colour) for colour in ("red", "blue")]
    frames[0].save(media / "moves.gif", save_all=True, append_images=frames[1:])
    ids = ["a.jpg", "small.png", "moves.gif"]
    with database.writing() as session:
        images.add_images(session, [NewImage(i, "acc", i) for i in ids], 60)
        images.lease(session, ["moves.gif"], "killed", -1)  # a suspect, which is decoded in a child
    service = strict()
    service.score(ids)
    service.close()
    with database.reading() as session:
        found = {row.id: (row.state, row.reason) for row in (session.get_one(Row, i) for i in ids)}
        detail = session.get_one(Row, "small.png").detail
    assert found == {
        "a.jpg": ("scored", None),
        "small.png": ("unusable", "too_small"),
        "moves.gif": ("unusable", "animated"),
    }
    assert detail == "too_small: 300x80 pixels (model tiny is for 100 and more)"
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    assert {row["image"] for row in asked("failures", "list", "--state", "unusable")} == {"small.png", "moves.gif"}
    assert asked("failures", "list") == []
    assert asked("status")["unusable"] == {"animated": 1, "too_small": 1}


def asked(*words: str) -> Any:
    result = CliRunner().invoke(root, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0 or words == ("status",), result.output  # which is 1 where no worker is alive
    return json.loads(result.stdout)
