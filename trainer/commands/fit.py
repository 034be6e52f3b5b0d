"""``unmask train``, or ``python -m trainer fit``: fits a detector on labelled photos."""

from typing import Unpack

import click

from trainer.commands.config_file import write_config
from trainer.commands.fit_options import FitOptions, fit_options, run_config
from trainer.commands.running import is_first, launch_ranks, stoppable


@click.command()
@fit_options
@click.pass_context
def fit(context: click.Context, **options: Unpack[FitOptions]) -> None:
    """Fit a detector on labelled photos.

    The defaults are the paper's recipe. It trains on the manifest's split "train" and measures on split "eval", which
    it never trains on. How many photos: to show an FPR of F, split eval needs 3/F real photos (600 for 0.5 %, 3,000 for
    0.1 %, 60 for 5 %); `manifest` puts 30 % there, so 0.5 % takes 2,000 real photos in all.

    The same command again resumes a run that was stopped, and with more --steps it continues one that is finished. The
    options are written to OUT/config.toml, which --config takes.
    """
    launch_ranks(context, options["ranks"])
    from trainer.runs.fit import fit as run

    config = run_config(options, write_config(context.command, context.params))
    with stoppable(config.out, quiet=options["quiet"]):
        path = run(config)
    if is_first():
        click.echo(str(path))
