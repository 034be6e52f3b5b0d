"""``unmask evaluate``: the measurements of a detector, engine by engine."""

from typing import TYPE_CHECKING, Literal, Unpack

import click

from trainer.commands.options import (
    MeasurementOptions,
    accept_option,
    cache_option,
    device_option,
    measurement_options,
    normalise_option,
    quiet_option,
    ranks_option,
    skip_option,
    stacked,
)
from trainer.commands.running import is_first, launch_ranks, print_table, stoppable

if TYPE_CHECKING:
    from trainer.judging.evaluate import EvaluationTerms
    from trainer.judging.results import Evaluation

_TERMS = stacked(
    click.option(
        "--threshold",
        type=click.Choice(["manifest", "card"]),
        default="manifest",
        show_default=True,
        help="Set the threshold on the manifest's reals, or use the card's.",
    ),
    click.option(
        "--leave-out",
        type=click.Choice(["family", "engine", "source"]),
        multiple=True,
        help="Also refit without each family, engine or source in turn, from the cache.",
    ),
    click.option(
        "--folds",
        type=click.IntRange(2),
        default=10,
        show_default=True,
        help="Parts of the real sources, with --leave-out.",
    ),
)
_OUTPUT = stacked(
    click.option(
        "--heatmaps",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Draw heatmaps for so many reals and so many fakes of each engine in the gallery; "
        "each takes half a minute.",
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
)


class EvaluateOptions(MeasurementOptions):
    """The values of the command's options."""

    threshold: Literal["manifest", "card"]
    leave_out: tuple[Literal["family", "engine", "source"], ...]
    folds: int
    accept_shortcut: bool
    heatmaps: int
    as_json: bool


@click.command()
@measurement_options
@_TERMS
@stacked(cache_option, normalise_option, accept_option, device_option, skip_option)
@_OUTPUT
@ranks_option
@quiet_option
@click.pass_context
def evaluate(context: click.Context, **options: Unpack[EvaluateOptions]) -> None:
    """Measure a detector engine by engine.

    Writes metrics.json and a page to read, index.html, at one false positive rate; the score of each held-out picture,
    scores.csv; and gallery.html with the highest reals and the lowest fakes, which holds small copies of them.
    """
    launch_ranks(context, options["ranks"])
    from trainer.data.shortcut_guard import ShortcutOptions
    from trainer.report.page import report_files
    from trainer.runs.evaluate import evaluate_files

    checkpoint, out = options["checkpoint"], options["out"]
    intake = ShortcutOptions(options["normalise"], options["accept_shortcut"])
    with stoppable(out, quiet=options["quiet"]):
        found = evaluate_files(
            checkpoint, options["manifests"], out, _terms(options), options["cache"], options["device"], intake
        )
    if is_first():
        report_files(checkpoint, out / "metrics.json", None, out)
        _print_results(found, as_json=options["as_json"])


def _terms(options: EvaluateOptions) -> "EvaluationTerms":
    from trainer.judging.evaluate import EvaluationTerms

    return EvaluationTerms(
        target_fpr=options["fpr"],
        threshold=options["threshold"],
        leave_out=options["leave_out"],
        folds=options["folds"],
        skip_unreadable=options["skip_unreadable"],
        heatmaps=options["heatmaps"],
    )


def _print_results(found: "Evaluation", *, as_json: bool) -> None:
    from trainer.judging.evaluate import results_table

    if found.warning:
        click.echo(found.warning, err=True)
    if as_json:
        click.echo(found.model_dump_json())
    else:
        print_table(results_table(found))
