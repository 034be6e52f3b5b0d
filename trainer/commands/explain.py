"""``unmask explain``: the parts of a photo that its score comes from."""

from pathlib import Path

import click

from trainer.commands.options import checkpoint_option, device_option


@click.command()
@checkpoint_option
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The PNG file to write.")
@device_option
def explain(*, checkpoint: Path, photo: Path, out: Path, device: str) -> None:
    """Show which parts of a photo its score comes from.

    Writes a picture with an overlay, and prints the numbers as JSON.
    """
    import json

    from trainer.explain.photo import explain_file

    click.echo(json.dumps(explain_file(checkpoint, photo, out, device), indent=2))
