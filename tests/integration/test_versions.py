"""The story of a policy and two model versions, by a person's commands, on real workers that are never restarted."""

import csv
import os
import signal
from pathlib import Path

import pytest
from PIL import Image as Pillow
from sqlalchemy import func, select

from db.schema import Case, Image
from db.store.session import Database
from db.work import images
from tests.integration.platforms import PHOTOS, Platform

#: Half of the twelve photos may be flagged: a reference of six would do for that.
FPR = "0.5"

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def platform(
    database: Database,
    database_url: str,
    broker_url: str,
    photo: Path,
    tiny_checkpoint: Path,
    other_checkpoint: Path,
    tmp_path: Path,
) -> Platform:
    """Two registered models, a reference set of twelve real photos that both have scored, and a threshold."""
    media = tmp_path / "media"
    media.mkdir()
    _photos(photo, media)
    environment = os.environ | {
        "UNMASK_DATABASE_URL": database_url,
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MODELS_DIR": str(tmp_path / "models"),
        "UNMASK_MEDIA_ROOT": str(media),
        "UNMASK_RUN_DIR": str(tmp_path / "run"),
        "UNMASK_DEVICE": "cpu",
        "UNMASK_MAX_FPR": "1",  # a model of random weights, on a handful of photos
        "UNMASK_ENGINE": "eager",  # starts sooner
        "UNMASK_ACTOR": "pat",
        "UNMASK_FLOOD_BUDGET": "100000",
    }
    found = Platform(database, environment, tmp_path)
    found.unmask("model", "register", str(tiny_checkpoint))
    found.unmask("model", "register", str(other_checkpoint))
    for name in ("tiny", "other"):
        found.unmask("reference", "build", "ours", "--manifest", str(media / "manifest.csv"), "--model", name)
    found.unmask("threshold", "set", "--fpr", FPR, "--empirical", "--reference", "ours")
    return found


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # it takes minutes
def test_a_shadow_is_promoted_and_rolled_back_under_load_and_no_image_is_scored_by_neither(platform: Platform) -> None:
    first, second = (row["id"] for row in platform.unmask("model", "list"))
    with platform.worker(), platform.uploads():
        platform.until(lambda: len(platform.scores(first)) > PHOTOS)
        platform.unmask("model", "shadow", "other")
        platform.until(lambda: len(platform.scores(second)) > PHOTOS)
        platform.until(lambda: platform.unmask("model", "promote", "other", "--preview")["covered"] == 1)
        platform.unmask("model", "promote", "other", "--reason", "better", "--force")
        promoted = platform.now()
        platform.until(lambda: len(platform.uploaded_between(promoted, platform.now())) > 2 * PHOTOS)
        before_rollback = platform.now()
        platform.unmask("model", "rollback", "--reason", "worse")
        rolled_back = platform.now()
        platform.until(lambda: len(platform.uploaded_between(rolled_back, platform.now())) > PHOTOS)
    with platform.worker():
        platform.until(platform.drained)
    by_first, by_second = platform.scores(first), platform.scores(second)
    with platform.database.reading() as session:
        assert images.count_images(session) == {
            "pending": 0,
            "scored": platform.uploaded,
            "failed": 0,
            "unusable": 0,
        }
    assert set(by_first) | set(by_second) == {f"i{number:05}" for number in range(platform.uploaded)}
    assert platform.uploaded_between(promoted, before_rollback) <= set(by_second)
    assert platform.uploaded_between(rolled_back, platform.now()) <= set(by_first)
    (threshold,) = platform.unmask("threshold", "show")
    assert threshold["model"] == "tiny"
    assert platform.flagged() == {image for image, score in by_first.items() if score >= threshold["value"]}
    assert 0 < len(platform.flagged()) < len(by_first), "the threshold tells no photos apart"


def test_a_threshold_is_shown_applied_and_followed_by_workers(platform: Platform) -> None:
    with platform.worker():
        for _ in range(PHOTOS):
            platform.upload()
        platform.until(platform.drained)
        before = platform.flagged()
        shown = platform.unmask("threshold", "preview", "--fpr", "0.25", "--empirical", "--reference", "ours")
        platform.unmask("threshold", "set", "--fpr", "0.25", "--empirical", "--reference", "ours", "--reason", "fewer")
        assert platform.flagged() == before - {line["account"] for line in shown["withdraws"]}
        assert shown["withdraws"]
        for _ in range(PHOTOS):
            platform.upload()
        platform.until(platform.drained)
    (first,) = (row["id"] for row in platform.unmask("model", "list") if row["state"] == "active")
    (threshold,) = platform.unmask("threshold", "show")
    scores = platform.scores(first)
    assert platform.flagged() == {image for image, score in scores.items() if score >= threshold["value"]}


def test_what_a_threshold_flags_later_is_clustered_too_once_a_worker_has_nothing_else_to_do(platform: Platform) -> None:
    with platform.worker():
        names = {platform.upload() for _ in range(2 * PHOTOS)}  # each photo from two accounts
        platform.until(platform.drained)
        assert platform.hashed() < names
        platform.unmask("threshold", "set", "--value", "0", "--reason", "everybody")
        platform.until(lambda: platform.hashed() == names)
    assert {row["account"] for row in platform.unmask("cases", "clusters")} == names


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # it takes minutes
def test_a_rescore_is_killed_and_resumed_and_a_flag_is_computed_again(platform: Platform) -> None:
    first, second = (row["id"] for row in platform.unmask("model", "list"))
    for _ in range(2 * PHOTOS):
        platform.upload()
    with platform.worker():
        platform.until(platform.drained)
    platform.unmask("model", "shadow", "other")
    assert platform.unmask("rescore", "--model", "other", "--dry-run")[0]["images"] == 2 * PHOTOS
    platform.unmask("rescore", "--model", "other", "--rate", "4")
    with platform.worker(signal.SIGKILL):
        platform.until(lambda: len(platform.scores(second)) > 2)
    killed_after = len(platform.scores(second))
    with platform.worker():
        platform.until(lambda: platform.unmask("rescore")[0]["state"] == "done")
    assert 2 < killed_after < len(platform.scores(second)) == 2 * PHOTOS
    _verify(platform, first)


def _verify(platform: Platform, version_id: int) -> None:
    (case,) = platform.unmask("cases", "list", "--limit", "1")
    (row,) = platform.unmask("cases", "verify", str(case["case"]))
    assert (row["outcome"], row["recorded"]) == ("match", platform.scores(version_id)[row["image"]])
    with platform.database.reading() as session:
        url = session.get_one(Image, row["image"]).url or ""
        assert session.scalar(select(func.count(Case.id))) or 0
    path = Path(platform.environment["UNMASK_MEDIA_ROOT"]) / url
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] + b"\xff\xd9more")
    (changed,) = platform.unmask("cases", "verify", str(case["case"]), status=1)
    assert changed["outcome"] == "changed"
    path.unlink()
    (gone,) = platform.unmask("cases", "verify", str(case["case"]), status=1)
    assert (gone["outcome"], gone["computed"]) == ("gone", None)
    original = platform.folder / "original.jpg"
    original.write_bytes(whole)
    (given,) = platform.unmask("cases", "verify", str(case["case"]), "--file", str(original))
    assert given["outcome"] == "match"


def _photos(photo: Path, folder: Path) -> None:
    """Parts of one photograph, that score differently, and their manifest."""
    with Pillow.open(photo) as whole:
        for number in range(PHOTOS):
            side = 120 + 30 * number
            whole.crop((10 * number, 8 * number, 10 * number + side, 8 * number + side)).save(folder / f"{number}.jpg")
    with (folder / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        rows.writerows([f"{number}.jpg", "real"] for number in range(PHOTOS))
