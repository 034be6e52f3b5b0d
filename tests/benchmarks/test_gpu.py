"""The GPU benchmark runs on a CPU from start to end, because a GPU may be lent for minutes only."""

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_its_dry_run_measures_each_part() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("Forward passes", "End to end", "Training", "--unfreeze last:2", "Two ranks"):
        assert f"## {part}" in done.stdout
    assert "not measured" not in done.stdout
    assert "failed" not in done.stdout
    assert "a worker chooses graph-" in done.stdout
