"""Options that several commands have, each with one wording."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import click

from trainer.commands.config_file import config_option

Command = Callable[..., Any]


def stacked(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """One decorator for several options, which --help lists in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


manifest_option = click.option(
    "--manifest",
    "manifests",
    type=click.Path(path_type=Path),
    required=True,
    multiple=True,
    help="CSV or Parquet: path,label[,engine,family,source,split,group]. Several are read as one.",
)
checkpoint_option = click.option(
    "--checkpoint", type=click.Path(path_type=Path), required=True, help="The detector, a .safetensors file."
)
out_option = click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=Path("var/embeddings"),
    help="Folder of cached embeddings, shared by all runs.",
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
quiet_option = click.option("--quiet", is_flag=True, help="Show no progress.")
fpr_option = click.option(
    "--fpr",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.005,
    show_default=True,
    help="Share of real photos that may be flagged.",
)
normalise_option = click.option("--normalise", is_flag=True, help="Resize and re-encode all pictures alike first.")
accept_option = click.option(
    "--accept-shortcut", is_flag=True, help="Continue although file formats give the labels away."
)
ranks_option = click.option(
    "--ranks",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes to start on this machine, as torchrun does: one for each GPU.",
)
skip_option = click.option(
    "--skip-unreadable", is_flag=True, help="Leave out pictures that cannot be used, and record which."
)
new_checkpoint_option = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The checkpoint to write."
)
name_option = click.option("--name", help="The new detector's name (default: the file's).")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
#: What is measured, on what, and where the results go.
measurement_options = stacked(config_option, checkpoint_option, manifest_option, out_option, fpr_option)


class MeasurementOptions(TypedDict):
    """The values that the commands which measure a detector have in common."""

    checkpoint: Path
    manifests: tuple[Path, ...]
    out: Path
    fpr: float
    cache: Path
    device: str
    normalise: bool
    skip_unreadable: bool
    ranks: int
    quiet: bool
