"""Real parts: a worker process finds a photo unstable, and commands, the HTTP door and webhooks' data say so."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from db.models import versions
from db.store.session import Database
from trainer.pixels.preprocess import FINGERPRINT, decode
from trainer.pixels.views import redeliveries
from worker.commands.model import store_checkpoint
from worker.inference.scorer import Scorer

PATIENCE_S = 120


@pytest.fixture
def environment(
    database_url: str, broker_url: str, tmp_path: Path, photo: Path, tiny_checkpoint: Path
) -> dict[str, str]:
    """Of a worker with a tiny model and one photo."""
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a.jpg").write_bytes(photo.read_bytes())
    database = Database(database_url)
    database.upgrade()
    with database.writing() as session:
        sha256 = store_checkpoint(tiny_checkpoint, tmp_path / "models")
        versions.register(session, "tiny", sha256, FINGERPRINT, {})
    database.close()
    return os.environ | {
        "UNMASK_DATABASE_URL": database_url,
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MODELS_DIR": str(tmp_path / "models"),
        "UNMASK_MEDIA_ROOT": str(tmp_path / "media"),
        "UNMASK_RUN_DIR": str(tmp_path / "run"),
        "UNMASK_ENGINE": "eager",
        "UNMASK_ACTOR": "pat",
    }


@pytest.fixture
def asked(environment: dict[str, str]) -> Callable[..., Any]:
    """``asked("policy", "list")``: what a command says, as JSON."""

    return lambda *words: json.loads(unmask(environment, *words, "--json"))


def unmask(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "worker", *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def worker(environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "worker"], env=environment, stdout=file, stderr=file
        )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


def test_a_worker_finds_a_photo_unstable_and_a_person_sees_it(
    environment: dict[str, str], asked: Callable[..., Any], tmp_path: Path, photo: Path, tiny_checkpoint: Path
) -> None:
    data = photo.read_bytes()
    scores = Scorer.open(tiny_checkpoint, "cpu", engine="eager").score([decode(data).pixels, *redeliveries(data)])
    threshold = (min(scores) + max(scores)) / 2
    asked("policy", "set", "default", "--stability", "note")
    asked("policy", "add", "off")
    asked("policy", "set", "off", "--stability", "off")
    asked("threshold", "set", "--value", str(threshold), "--reason", "a test")
    for image_id, policy in (("noted", "default"), ("plain", "off")):
        words = ("--url", "a.jpg", "--image-id", image_id, "--account", f"account of {image_id}", "--policy", policy)
        unmask(environment, "enqueue", *words)
    log = tmp_path / "worker.log"
    with worker(environment, log):
        deadline = time.monotonic() + PATIENCE_S
        while any(asked("image", "show", name)["state"] != "scored" for name in ("noted", "plain")):
            assert time.monotonic() < deadline, log.read_text()[-3000:]
    noted, plain = asked("image", "show", "noted"), asked("image", "show", "plain")
    assert (noted["verdict"], noted["flagged"], noted["case_state"]) == ("unstable", None, "open")
    assert noted["score_low"] < threshold <= noted["score_high"]
    assert (plain["verdict"], plain["score_low"]) == ("flagged" if scores[0] >= threshold else "clear", None)
    (case,) = asked("cases", "list", "--unstable")
    assert case["account"] == "account of noted"
    (shown,) = asked("review", "show", str(case["case"]))["photos"]
    assert shown["flagged_by"] == "unstable"
