"""``--ranks``: the ranks of a run on one machine, which fail in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.distributed.launcher import tell_launcher

REPOSITORY = Path(__file__).parents[4]


def test_without_a_launcher_a_rank_speaks_for_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    monkeypatch.delenv("TRAINER_LAUNCHED", raising=False)

    assert not tell_launcher("no launcher")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_every_rank_refuses_is_said_in_one_line(tmp_path: Path) -> None:
    done = ran(tmp_path, "-m", "trainer", "fit", "--manifest", "none.csv", "--out", "out", "--ranks", "2")

    assert done.returncode == 2
    assert done.stderr.splitlines() == ["Error: manifest none.csv does not exist"]
    assert done.stdout == ""


@pytest.mark.slow
def test_a_rank_that_a_signal_ends_is_named(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nif 'RANK' in os.environ: os.kill(os.getpid(), 9)\n")

    done = ran(tmp_path, "-c", "import sys; from trainer.distributed.launcher import launch; sys.exit(launch(1, []))")

    assert done.returncode == 1
    assert done.stderr.splitlines() == ["Error: rank 0 was ended by SIGKILL"]


def ran(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{folder}:{REPOSITORY}"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
