"""``unmask model``: the registered checkpoints, and which of them scores; registration needs torch, so it is here."""

import shutil
from pathlib import Path

import click

from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.model import COMMANDS
from db.commands.options import as_lead
from db.commands.output import emit, json_option
from db.commands.show_model import model_row
from db.errors import ConflictError
from db.models import versions


@click.group(cls=WholeHelpGroup)
def model() -> None:
    """Register checkpoints; run one as a shadow of the active one, compare, promote, roll back."""


for command in COMMANDS:
    model.add_command(command)


@model.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--name", help="The version's name; by default the one in its card.")
@json_option
def register(*, checkpoint: Path, name: str | None, as_json: bool) -> None:
    """Check a checkpoint, copy it to UNMASK_MODELS_DIR and register it; the first one becomes active."""
    from trainer.detector.checkpoint import key_files, load
    from worker.core.settings import ModelSettings

    _, card = load(checkpoint)
    database = open_database()
    with database.writing() as session:
        as_lead(session)
    models_dir = ModelSettings.load().models_dir
    for file in key_files(checkpoint, card):
        store_checkpoint(file, models_dir)
    sha256 = store_checkpoint(checkpoint, models_dir)
    with database.writing() as session:
        version = versions.register(session, name or card.name, sha256, card.preprocess, card.model_dump(mode="json"))
        if name is not None and version.name != name:
            raise ConflictError(f"this file is registered as {version.name!r}: it cannot have the name {name!r} too")
        row = model_row(version)
    emit([row], as_json=as_json, empty="")


def store_checkpoint(checkpoint: Path, models_dir: Path) -> str:
    """Copy a checkpoint to ``<sha256>.safetensors``, atomically, so that no worker loads half a file; its SHA-256.

    Raises `UsageError` when the directory cannot be written, and `trainer.errors.CheckpointError`.
    """
    from trainer.detector.checkpoint import file_sha256
    from trainer.files import atomic_write
    from worker.core.errors import UsageError

    sha256 = file_sha256(checkpoint)
    target = models_dir / f"{sha256}.safetensors"
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as part:
            shutil.copyfile(checkpoint, part)
    except OSError as error:
        raise UsageError(f"UNMASK_MODELS_DIR={models_dir} cannot be written: {error.strerror}") from error
    return sha256
