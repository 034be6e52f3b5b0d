"""``unmask robustness``: the measurements of a detector on degraded photos."""

from typing import Unpack

import click

from trainer.commands.options import (
    MeasurementOptions,
    cache_option,
    device_option,
    measurement_options,
    normalise_option,
    quiet_option,
    ranks_option,
    skip_option,
    stacked,
)
from trainer.commands.running import is_first, launch_ranks, stoppable


class RobustnessOptions(MeasurementOptions):
    """The values of the command's options."""

    limit: int | None


@click.command()
@measurement_options
@click.option(
    "--limit", type=click.IntRange(1), help="Use at most this many reals, and as many pictures of each engine."
)
@stacked(normalise_option, skip_option, cache_option, device_option, ranks_option, quiet_option)
@click.pass_context
def robustness(context: click.Context, **options: Unpack[RobustnessOptions]) -> None:
    """Measure a detector on degraded photos.

    Writes robustness.json: what scaling, JPEG, mirroring and flipping do to it (the paper's Figure 3).
    """
    launch_ranks(context, options["ranks"])
    from trainer.data.shortcut_guard import ShortcutOptions
    from trainer.runs.robustness import robustness_files

    out = options["out"]
    with stoppable(out, quiet=options["quiet"]):
        found = robustness_files(
            options["checkpoint"],
            options["manifests"],
            out,
            options["fpr"],
            options["cache"],
            options["device"],
            options["limit"],
            intake=ShortcutOptions(options["normalise"]),
            skip_unreadable=options["skip_unreadable"],
        )
    if is_first():
        if found.warning:
            click.echo(found.warning, err=True)
        click.echo(str(out / "robustness.json"))
