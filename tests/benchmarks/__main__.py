"""``make bench``, ``python -m tests.benchmarks [NAME...]``: runs every ``bench_*.py`` beside this file.

Each has a function ``measure()``, which gives what it found. Prints one Markdown table; $BENCH_JSON names a file for
the same figures as JSON.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from tests.benchmarks.measured import Measured, table, write

NAMES = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
def bench(names: Sequence[str]) -> None:
    """Run benchmarks, all of them when none is named."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    found: list[Measured] = []
    for name in names or NAMES:
        begun = time.monotonic()
        found += import_module(f"tests.benchmarks.bench_{name}").measure()
        click.echo(f"{name}: {time.monotonic() - begun:.0f} s", err=True)
    click.echo(table(found))
    if path := os.environ.get("BENCH_JSON"):
        write(found, Path(path))


if __name__ == "__main__":
    bench()
