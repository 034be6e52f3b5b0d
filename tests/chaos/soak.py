"""``make soak [SEED=n]`` scores 50,000 images with two workers; memory, files, keys and connections must not grow.

About a quarter of an hour on two quiet cores. Prints the curves as a table; exit status 1 when one of them grows, or
when an image has not what it must have.
"""

import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median

import click
from sqlalchemy import text

from tests.chaos.kinds import STEADY
from tests.chaos.world import World, world

_WORKERS = 2
_SAMPLES = 40
_BACKLOG = 200
_CONNECTIONS = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
#: Growth from the second quarter to the last that is noise: a share, and a constant for each curve.
_NOISE = 0.05
_SLACK = {
    "worker_mb": 16.0,
    "worker_files": 4.0,
    "worker_threads": 4.0,
    "keys": 2.0,
    "valkey_mb": 2.0,
    "connections": 2.0,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """Every size after this many images; of the workers, the largest."""

    images: int
    seconds: float
    worker_mb: float
    worker_files: int
    worker_threads: int
    keys: int
    valkey_mb: float
    connections: int


@click.command()
@click.option("--seed", type=int, help="Seed of an earlier run, to repeat it.")
@click.option("--images", type=click.IntRange(_SAMPLES), default=50_000, show_default=True)
def soak(*, seed: int | None, images: int) -> None:
    """Score many images and check that nothing grows."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    click.echo(f"seed {seed}", err=True)
    with (
        tempfile.TemporaryDirectory(prefix="unmask-soak-") as folder,
        world("postgresql", seed, Path(folder), _WORKERS, 0.0) as made,
    ):
        samples = _run(made, images)
        found = made.look()
        grown = _grown(samples) + made.pool.surprises + sorted(found.lost | found.duplicated | found.wrong)
    click.echo(_table(samples))
    rate = images / samples[-1].seconds
    click.echo(f"\nSeed {seed}, {rate:.0f} images a second.")
    for said in grown:
        click.echo(said, err=True)
    sys.exit(1 if grown else 0)


def _run(made: World, images: int) -> list[Sample]:
    """Take a sample after each fortieth of the images."""
    made.load(STEADY, _BACKLOG)
    made.until(lambda: len(made.pool.ready()) == _WORKERS, "all workers are ready")
    start, samples = time.monotonic(), []
    for number in range(1, _SAMPLES + 1):
        _wait_for(made, images * number // _SAMPLES)
        samples.append(_sample(made, time.monotonic() - start))
        click.echo(f"{samples[-1]}", err=True)
    made.drain()
    return samples


def _wait_for(made: World, images: int) -> None:
    made.until(lambda: len(made.uploads.committed) - made.pending() >= images, f"{images} images are done")


def _sample(made: World, seconds: float) -> Sample:
    pids = [worker.process.pid for worker in made.pool.workers]
    with made.database.reading() as session:
        connections = session.execute(_CONNECTIONS).scalar_one()
    client = made.broker.client
    return Sample(
        images=len(made.uploads.committed),
        seconds=round(seconds, 1),
        worker_mb=round(max(_status(pid, "VmRSS") for pid in pids) / 1024, 1),
        worker_files=max(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
        worker_threads=max(_status(pid, "Threads") for pid in pids),
        keys=int(client.dbsize()),
        valkey_mb=round(client.info("memory")["used_memory"] / 2**20, 1),
        connections=connections,
    )


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _grown(samples: Sequence[Sample]) -> list[str]:
    quarter = len(samples) // 4
    return [
        f"{name} grew from {before:g} to {after:g}"
        for name, slack in _SLACK.items()
        for value in [_curve(samples, name)]
        for before, after in [(median(value[quarter : 2 * quarter]), median(value[-quarter:]))]
        if after > before * (1 + _NOISE) + slack
    ]


def _curve(samples: Sequence[Sample], name: str) -> list[float]:
    return [float(getattr(sample, name)) for sample in samples]


def _table(samples: Sequence[Sample]) -> str:
    names = list(Sample.__dataclass_fields__)
    rows = [names, ["---:"] * len(names), *(map(str, astuple(sample)) for sample in samples)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    soak(prog_name="make soak")
