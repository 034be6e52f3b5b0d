"""``unmask train``, or ``python -m trainer fit``: fits a detector on labelled photos."""

from typing import TYPE_CHECKING, Unpack

import click

from trainer.commands.config_file import write_config
from trainer.commands.fit_options import FitOptions, fit_options
from trainer.commands.running import is_first, launch_ranks, stoppable

if TYPE_CHECKING:
    from trainer.fitting.loop import Recipe
    from trainer.runs.run_config import RunConfig


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

    config = _run_config(options, write_config(context.command, context.params))
    with stoppable(config.out, quiet=options["quiet"]):
        path = run(config)
    if is_first():
        click.echo(str(path))


def _run_config(options: FitOptions, config_toml: str) -> "RunConfig":
    """The configuration of the run; ``config_toml`` is the text of the file that repeats it."""
    from trainer.data.shortcut_guard import ShortcutOptions
    from trainer.fitting.finetune import Unfreezing
    from trainer.runs.run_config import RunConfig

    return RunConfig(
        manifest=options["manifests"][0],
        more_manifests=options["manifests"][1:],
        out=options["out"],
        recipe=_recipe(options),
        backbone=options["backbone"],
        weights=options["weights"],
        embedding=options["embedding"],
        views=options["views"],
        hard_reals=options["hard_reals"],
        cross_fit=options["cross_fit"],
        weights_licence=options["weights_licence"],
        unfreezing=Unfreezing(options["unfreeze"], options["backbone_lr"]),
        end_to_end=options["end_to_end"],
        intake=ShortcutOptions(options["normalise"], options["accept_shortcut"]),
        cache=options["cache"],
        device=options["device"],
        head_only=options["head_only"],
        half=options["half"],
        name=options["name"],
        licence=options["licence"],
        class_weights=options["class_weights"],
        skip_unreadable=options["skip_unreadable"],
        track=options["track"],
        config_toml=config_toml,
    )


def _recipe(options: FitOptions) -> "Recipe":
    from trainer.fitting.loop import Recipe

    return Recipe(
        steps=options["steps"],
        batch=options["batch"],
        learning_rate=options["lr"],
        seed=options["seed"],
        scale=options["scale"],
        patience=options["patience"],
        label_smoothing=options["label_smoothing"],
        widths=_widths(options["head"]),
        dropout=options["dropout"],
        optimizer=options["optimizer"],
        weight_decay=options["weight_decay"],
        l2=options["l2"],
        blends=options["blend"],
        weigh_sources=options["weigh_sources"],
    )


def _widths(head: str) -> tuple[int, ...]:
    """The widths of hidden layers: "linear" has none, "2048x2048" two."""
    return () if head == "linear" else tuple(int(part) for part in head.split("x"))
