"""``unmask enqueue --manifest``: a table of photos into SQL and Valkey; how fast, and how much memory it holds."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.benchmarks import detectors
from tests.benchmarks.cost import peak_mb
from tests.benchmarks.measured import Measured
from tests.benchmarks.stand import Stand, stand

ROWS, FEW_ROWS = 100_000, 10_000
_LOOK_S = 0.05


def measure() -> list[Measured]:
    """Rows a second, the start of the command included; and whether ten times the rows need more memory."""
    with stand(detectors.TINY) as place:
        _, few_mb = _enqueue(place, FEW_ROWS)
        seconds, many_mb = _enqueue(place, ROWS)
    return [
        Measured("backfill into SQL and Valkey", ROWS / seconds, "rows/s", limit="≥ 5000", key="backfill_rows_per_s"),
        Measured(f"backfill of {ROWS:,} rows: memory at its peak", many_mb, "MB", key="backfill_mb"),
        Measured(f"the same, in multiples of {FEW_ROWS:,} rows'", many_mb / few_mb, "times", limit="flat"),
    ]


def _enqueue(place: Stand, rows: int) -> tuple[float, float]:
    """Seconds, and megabytes."""
    manifest = place.folder / f"{rows}.csv"
    write(manifest, rows)
    start = time.perf_counter()
    command = [sys.executable, "-m", "worker", "enqueue", "--manifest", str(manifest)]
    process = subprocess.Popen(command, env=dict(place.environment), stderr=subprocess.DEVNULL)
    most_mb = 0.0
    while process.poll() is None:  # what the system says at the end counts the memory of whoever forked it
        with suppress(StopIteration):  # it has just ended
            most_mb = peak_mb(process.pid)
        time.sleep(_LOOK_S)
    if process.returncode:
        raise RuntimeError(f"unmask enqueue ended with {process.returncode}")
    return time.perf_counter() - start, most_mb


def write(path: Path, rows: int) -> None:
    """A manifest of so many photos, each with an id."""
    lines = (f"account-{n // 2},photos/{rows}/{n}.jpg,image-{rows}-{n}\n" for n in range(rows))
    with path.open("w") as file:
        file.write("account_id,url,image_id\n")
        file.writelines(lines)
