"""``unmask convert``: weights of a backbone that the user brings."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--onnx", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="The ONNX file."
)
@click.option(
    "--backbone", required=True, help="The timm network, for example vit_base_patch16_clip_quickgelu_224.openai."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="UNMASK_BACKBONES_DIR",
    default=Path("backbones"),
    show_default=True,
    help="Folder to write <sha256>.safetensors to, where checkpoints look for it.",
)
def convert(*, onnx: Path, backbone: str, out: Path) -> None:
    """Convert a backbone's weights from an ONNX file.

    The file holds a CLIP image encoder, in floating point or quantised. Weights that were quantised differ from
    the original's: they have another digest, and a head fitted on the one does not serve on the other.
    """
    from trainer.detector.onnx_weights import convert_onnx

    click.echo(str(convert_onnx(onnx, backbone, out)))
