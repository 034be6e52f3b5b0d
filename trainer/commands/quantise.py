"""``unmask quantise``: the int8 form of a detector, for CPUs."""

from pathlib import Path

import click

from trainer.commands.options import fpr_option, manifest_option, name_option, new_checkpoint_option, quiet_option
from trainer.commands.running import print_table, stoppable


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@manifest_option
@new_checkpoint_option
@name_option
@fpr_option
@click.option(
    "--calibration",
    type=click.IntRange(20),
    default=300,
    show_default=True,
    help="Pictures of split train to calibrate with, reals and fakes in turn.",
)
@quiet_option
def quantise(
    *,
    checkpoint: Path,
    manifests: tuple[Path, ...],
    out: Path,
    name: str | None,
    fpr: float,
    calibration: int,
    quiet: bool,
) -> None:
    """Make a detector that computes in 8 bits, for CPUs.

    Its scores are its own: --out becomes a checkpoint with its own digest and its own reference, measured on split eval
    of the manifest, and refers to a copy of CHECKPOINT, which is written beside it. Register it like any checkpoint,
    compare it as a shadow, and promote it. Workers run it with OpenVINO. Prints what both find.
    """
    from trainer.runs.fuse import fusion_table
    from trainer.runs.quantise import QuantisationOptions, quantise_file

    with stoppable(out, quiet=quiet):
        found = quantise_file(checkpoint, manifests, out, QuantisationOptions(name or out.stem, fpr, calibration))
    print_table(fusion_table(found))
