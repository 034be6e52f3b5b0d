"""``unmask engine add``: a new engine, taught to a fitted detector."""

from pathlib import Path

import click

from trainer.commands.options import (
    cache_option,
    checkpoint_option,
    device_option,
    json_option,
    new_checkpoint_option,
    quiet_option,
)
from trainer.commands.running import is_first, stoppable


@click.group()
def engine() -> None:
    """Teach a detector new engines."""


@engine.command("add")
@click.argument("name")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@checkpoint_option
@new_checkpoint_option
@cache_option
@device_option
@json_option
@quiet_option
def engine_add(
    *, name: str, folder: Path, checkpoint: Path, out: Path, cache: Path, device: str, as_json: bool, quiet: bool
) -> None:
    """Refit a detector with the pictures of a new engine.

    FOLDER holds 5 or more pictures of it; 20 go far. The head is refitted on these and on what it was fitted on before,
    which lies beside the checkpoint as NAME.support: no training photo is needed. Prints the forecast: how many of the
    engine's faces it will find, and what that does to the engines that it knew, by heads that did not see them.
    """
    from trainer.runs.add_engine import add_engine

    with stoppable(out, quiet=quiet):
        added = add_engine(name, folder, checkpoint, out, cache, device)
    if not is_first():
        return
    if as_json:
        click.echo(added.model_dump_json())
        return
    click.echo(
        f"{out}: forecast at a certified FPR of 0.5 %: it finds {added.tpr:.0%} of {name} "
        f"(95 % interval {added.tpr_low:.0%} to {added.tpr_high:.0%}, {added.examples} pictures; before: "
        f"{added.tpr_before:.0%}) and {added.known_tpr:.0%} of the engines that it knew "
        f"(before: {added.known_tpr_before:.0%})"
    )
