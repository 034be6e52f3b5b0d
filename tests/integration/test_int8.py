"""A model in 8 bits takes the way of any version: registered, measured, proven as a shadow, promoted, rolled back."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from sqlalchemy import select

from db.schema import Score
from db.store.session import Database
from tests.integration.platforms import PHOTOS, Platform

pytest.importorskip("nncf")
pytestmark = pytest.mark.timeout(1800)

REALS, FAKES = 20, 3


@pytest.fixture
def platform(database: Database, database_url: str, broker_url: str, tiny_checkpoint: Path, tmp_path: Path) -> Platform:
    """An active model in floats, with a threshold; and its int8 twin, registered and measured on the same reals."""
    media = tmp_path / "media"
    media.mkdir()
    manifest = str(_photos(media))
    environment = os.environ | {
        "UNMASK_DATABASE_URL": database_url,
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MODELS_DIR": str(tmp_path / "models"),
        "UNMASK_MEDIA_ROOT": str(media),
        "UNMASK_RUN_DIR": str(tmp_path / "run"),
        "UNMASK_DEVICE": "cpu",
        "UNMASK_MAX_FPR": "1",  # a model of random weights, on a handful of photos
        "UNMASK_ACTOR": "pat",
    }
    found = Platform(database, environment, tmp_path)
    int8 = tmp_path / "small.safetensors"
    command = ["quantise", str(tiny_checkpoint), "--manifest", manifest, "--fpr", "0.05", "--out", str(int8)]
    subprocess.run([sys.executable, "-m", "worker", *command], env=environment, capture_output=True, check=True)
    for path, name in ((tiny_checkpoint, "tiny"), (int8, "small")):
        found.unmask("model", "register", str(path))
        found.unmask("reference", "build", "ours", "--manifest", manifest, "--model", name)
    found.unmask("threshold", "set", "--fpr", "0.5", "--empirical", "--reference", "ours")
    return found


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # it takes minutes
def test_an_int8_version_is_proven_promoted_and_rolled_back(platform: Platform) -> None:
    floats, int8 = (row["id"] for row in platform.unmask("model", "list"))
    with platform.worker(), platform.uploads():
        platform.until(lambda: len(platform.scores(floats)) > PHOTOS)
        platform.unmask("model", "shadow", "small")
        platform.until(lambda: platform.unmask("model", "promote", "small", "--preview")["covered"] == 1)
        platform.unmask("model", "promote", "small", "--reason", "half the cost", "--force")
        promoted = platform.now()
        platform.until(lambda: len(platform.uploaded_between(promoted, platform.now())) > PHOTOS)
        (threshold,) = platform.unmask("threshold", "show")
        platform.unmask("model", "rollback", "--reason", "the story's end")
    with platform.worker():
        platform.until(platform.drained)
    assert threshold["model"] == "small"
    assert platform.unmask("threshold", "show")[0]["model"] == "tiny"
    assert _engines(platform, floats) == {"openvino-fp32"}
    assert _engines(platform, int8) == {"openvino-int8"}
    by_both = platform.scores(floats).keys() & platform.scores(int8).keys()
    assert {platform.scores(floats)[name] for name in by_both} != {platform.scores(int8)[name] for name in by_both}


def _engines(platform: Platform, version_id: int) -> set[str]:
    with platform.database.reading() as session:
        return set(session.scalars(select(Score.engine).where(Score.version_id == version_id)))


def _photos(folder: Path) -> Path:
    """Reals and fakes to calibrate on, and as many to measure; the first are uploaded. Returns their manifest."""
    rows = ["path,label,engine,split,group"]
    for number in range(2 * (REALS + FAKES)):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Pillow.fromarray(pixels).resize((256, 256)).save(folder / f"{number}.jpg")
        is_fake, split = number % (REALS + FAKES) >= REALS, "eval" if number < REALS + FAKES else "train"
        rows.append(f"{number}.jpg,{'fake,SG1' if is_fake else 'real,camera'},{split},{number}")
    path = folder / "manifest.csv"
    path.write_text("\n".join(rows) + "\n")
    return path
