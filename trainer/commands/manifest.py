"""``unmask manifest``: a manifest of a folder of photos."""

from pathlib import Path

import click

from trainer.commands.options import skip_option


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The manifest to write (default: FOLDER/manifest.csv).")
@click.option(
    "--eval-share", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Share of groups in split eval."
)
@skip_option
def manifest(*, folder: Path, out: Path | None, eval_share: float, skip_unreadable: bool) -> None:
    """Make and check a manifest of a folder of photos.

    FOLDER holds real/... and fake/ENGINE/... . It reads every picture whole and lists those that cannot be used. With
    --skip-unreadable it leaves them out and writes the list to a file beside the manifest, MANIFEST.skipped.txt.
    """
    from trainer.data.folders import build_manifest

    out = out or folder / "manifest.csv"
    click.echo(build_manifest(folder, out, eval_share, skip_unreadable=skip_unreadable), err=True)
