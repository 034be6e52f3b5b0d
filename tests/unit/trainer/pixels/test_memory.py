"""Embeddings need not fit into memory: they are read from files, a batch at a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[4]


def peak_mb(rows: int) -> tuple[float, float]:
    """The size of so many embeddings, and the most anonymous memory that a fit on them takes."""
    command = [sys.executable, "-m", "tests.benchmarks.million", "--rows", str(rows)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=600)
    found = json.loads(done.stdout)
    return found["data_mb"], found["peak_mb"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_a_hundred_times_as_many_pictures_take_less_than_half_their_size_in_memory() -> None:
    few_mb, few_peak_mb = peak_mb(600)
    many_mb, many_peak_mb = peak_mb(60_000)

    assert many_peak_mb - few_peak_mb < (many_mb - few_mb) / 2
