"""``python -m trainer fit ...``: a `TrainerError` is one line on stderr and exit status 2."""

import sys

import click

from trainer.cli import root
from trainer.distributed.launcher import tell_launcher
from trainer.errors import TrainerError

if __name__ == "__main__":
    try:
        root(prog_name="python -m trainer")
    except TrainerError as error:
        if not tell_launcher(str(error)):
            click.echo(f"Error: {error}", err=True)
        sys.exit(2)
