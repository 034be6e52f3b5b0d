"""``unmask model``: which checkpoints are known, and which one scores; registering one reads it here."""

import os
import shutil
from pathlib import Path

import click

from db.models import versions
from db.cli import open_database
from db.commands.drift import drift
from db.commands.live import live
from db.commands.model import compare_models, history, list_models, promote, rollback, shadow, show
from db.commands.show_model import model_row
from db.output import emit, json_option


@click.group()
def model() -> None:
    """Register checkpoints; try one beside the active one, compare, promote, go back."""


for command in (list_models, show, shadow, compare_models, promote, rollback, history, live, drift):
    model.add_command(command)


@model.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--name", help="What people call it; the card's name when not given.")
@json_option
def register(*, checkpoint: Path, name: str | None, as_json: bool) -> None:
    """Check a checkpoint, copy it to the models directory and enter it; the first becomes active."""
    from trainer.detector.checkpoint import load
    from worker.core.settings import WorkerSettings

    _, card = load(checkpoint)
    database = open_database()
    sha256 = store(checkpoint, WorkerSettings.load().models_dir)
    with database.writing() as session:
        version = versions.register(session, name or card.name, sha256, card.preprocess, card.model_dump(mode="json"))
        row = model_row(version)
    emit([row], as_json=as_json, empty="")


def store(checkpoint: Path, models_dir: Path) -> str:
    """Copy to ``<sha256>.safetensors``, atomically, so that a worker never loads half a file."""
    from trainer.detector.checkpoint import file_sha256
    from worker.core.errors import UsageError

    sha256 = file_sha256(checkpoint)
    target = models_dir / f"{sha256}.safetensors"
    part = models_dir / f".{sha256}.{os.getpid()}.part"
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkpoint, part)
        part.replace(target)
    except OSError as error:
        raise UsageError(f"UNMASK_MODELS_DIR={models_dir} cannot be written: {error.strerror}") from error
    return sha256
