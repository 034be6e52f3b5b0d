"""``make chaos [SEED=n]``: every fault, on PostgreSQL and SQLite; a table on stdout, and exit status 1 for any loss."""

import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from tests.chaos.run import Row, run, table


@click.command()
@click.option("--seed", type=int, help="Of an earlier run, to have it again; by chance when not given.")
@click.option("--quick", is_flag=True, help="The two-minute version that `make test` runs.")
@click.option("--workers", type=click.IntRange(1), default=4, show_default=True, help="Workers side by side.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep everything here, the workers' logs above all.")
@click.option("--only", default="", help="Faults whose name matches this (a regular expression).")
@click.option("--on", "kinds", multiple=True, type=click.Choice(["postgresql", "sqlite"]), help="Both, unless given.")
def chaos(
    *, seed: int | None, quick: bool, workers: int, folder: Path | None, only: str, kinds: tuple[str, ...]
) -> None:
    """Harm the whole system in every way that we know, and see that nothing is lost and nothing is scored twice."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    click.echo(f"seed {seed}", err=True)
    start = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="unmask-chaos-") as temporary:
        for kind in kinds or ("postgresql", "sqlite"):
            (place := (folder or Path(temporary)) / kind).mkdir(parents=True)
            rows += run(kind, seed, place, quick=quick, workers=workers, only=only)
    click.echo(table(rows))
    click.echo(f"\nSeed {seed}, {time.monotonic() - start:.0f} s.")
    sys.exit(0 if all(row.is_clean for row in rows) else 1)


if __name__ == "__main__":
    chaos(prog_name="make chaos")
