"""``unmask report``: the page about a detector."""

from pathlib import Path

import click

from trainer.commands.options import checkpoint_option, out_option


@click.command()
@checkpoint_option
@click.option(
    "--evaluation", type=click.Path(path_type=Path), required=True, help="The metrics.json that evaluate wrote."
)
@click.option("--robustness", type=click.Path(path_type=Path), help="The robustness.json, if there is one.")
@out_option
@click.option(
    "--write-card",
    type=click.Path(path_type=Path),
    help="Also write a copy of the checkpoint with these results in its card.",
)
@click.option(
    "--experiments", type=click.Path(exists=True, path_type=Path), help="Text file for the card, one experiment a line."
)
def report(
    *,
    checkpoint: Path,
    evaluation: Path,
    robustness: Path | None,
    out: Path,
    write_card: Path | None,
    experiments: Path | None,
) -> None:
    """Write a page about a detector for policy leads.

    It shows the pictures and the model card. --write-card puts the sweep, the left-out engines and the experiments
    into the card of a copy with the same weights: another file, so another model version.
    """
    from trainer.report.page import report_files

    if experiments and not write_card:
        raise click.UsageError("--experiments needs --write-card, which names the checkpoint to write them to")
    click.echo(str(report_files(checkpoint, evaluation, robustness, out, experiments, write_card)))
