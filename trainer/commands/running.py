"""How a command runs: in how many processes, until it is stopped, and what it prints."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from trainer.commands.config_file import write_config


def launch_ranks(context: click.Context, ranks: int) -> None:
    """Start this command in so many ranks and exit with their status; does nothing for one rank, or in one."""
    if ranks == 1 or "RANK" in os.environ:
        return
    from tempfile import TemporaryDirectory

    from trainer.distributed.launcher import launch

    with TemporaryDirectory() as folder:
        config = Path(folder) / "config.toml"
        config.write_text(write_config(context.command, context.params), encoding="utf-8")
        quiet = ["--quiet"] if context.params["quiet"] else []
        status = launch(ranks, [str(context.command.name), "--config", str(config), *quiet])
    sys.exit(status)


@contextmanager
def stoppable(out: Path, *, quiet: bool) -> Iterator[None]:
    """Exit with status 0 after SIGTERM: it is no error, and the progress is saved."""
    from trainer import progress
    from trainer.distributed.process import Stopped

    try:
        with progress.quiet(on=quiet):
            yield
    except Stopped:
        click.echo(f"stopped; run the same command again to continue from the progress saved for {out}", err=True)
        sys.exit(0)


def is_first() -> bool:
    """Whether this process prints for all ranks."""
    return os.environ.get("RANK", "0") == "0"


def print_table(rows: list[dict[str, object]]) -> None:
    """Print rows as columns, each as wide as its widest cell."""
    cells = [list(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)
