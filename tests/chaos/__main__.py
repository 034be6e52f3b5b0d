"""``make chaos [SEED=n]`` runs every fault on PostgreSQL and SQLite, prints a table, and exits 1 for any loss."""

import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from tests.chaos.run import Row, run, table


@click.command()
@click.option("--seed", type=int, help="Seed of an earlier run, to repeat it; random by default.")
@click.option("--quick", is_flag=True, help="Run the two-minute version that `make test-all` runs.")
@click.option("--workers", type=click.IntRange(1), default=4, show_default=True, help="Number of workers.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Keep all files here, among them the logs of the workers."
)
@click.option("--only", default="", help="Run only faults whose name matches this regular expression.")
@click.option(
    "--on",
    "kinds",
    multiple=True,
    type=click.Choice(["postgresql", "sqlite"]),
    help="Database to run on; both by default.",
)
def chaos(
    *, seed: int | None, quick: bool, workers: int, folder: Path | None, only: str, kinds: tuple[str, ...]
) -> None:
    """Disturb every part in every known way and check that no image is lost and none is scored twice."""
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
