"""``unmask export``: a detector as an ONNX file."""

from pathlib import Path

import click

from trainer.commands.options import checkpoint_option


@click.command()
@checkpoint_option
@click.option("--onnx", type=click.Path(path_type=Path), required=True, help="The ONNX file to write.")
def export(*, checkpoint: Path, onnx: Path) -> None:
    """Export a detector for programs that run no PyTorch.

    The ONNX file takes pixels, (B, 512, 512, 3) uint8 RGB as this software makes them, and gives scores; the card is in
    its metadata. Its scores are compared with PyTorch's first: no file is written if they differ by more than 0.0001.
    """
    from trainer.runs.export import export_onnx

    difference = export_onnx(checkpoint, onnx)
    click.echo(f"{onnx}: its scores differ from PyTorch's by at most {difference:.1g}", err=True)
