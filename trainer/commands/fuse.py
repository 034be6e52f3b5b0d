"""``unmask fuse``: two detectors that must agree, as one."""

from pathlib import Path

import click

from trainer.commands.options import (
    cache_option,
    device_option,
    fpr_option,
    manifest_option,
    name_option,
    new_checkpoint_option,
    quiet_option,
)
from trainer.commands.running import is_first, print_table, stoppable


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@manifest_option
@new_checkpoint_option
@name_option
@fpr_option
@cache_option
@device_option
@quiet_option
def fuse(
    *,
    first: Path,
    second: Path,
    manifests: tuple[Path, ...],
    out: Path,
    name: str | None,
    fpr: float,
    cache: Path,
    device: str,
    quiet: bool,
) -> None:
    """Join two detectors into one that needs both: a photo is flagged only when both find it suspicious.

    The rule is measured as a whole on split eval of the manifest. --out becomes a small file that refers to copies of
    both checkpoints, which are written beside it; register it like any checkpoint.
    """
    from trainer.runs.fuse import FusionOptions, fuse_files, fusion_table

    with stoppable(out, quiet=quiet):
        found = fuse_files((first, second), manifests, out, FusionOptions(name or out.stem, fpr, cache, device))
    if is_first():
        print_table(fusion_table(found))
