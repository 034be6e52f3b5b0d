"""``unmask inspect``: what photos' files say of their origin, without database or queue."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from db.commands.output import emit, emit_json, json_option

#: Below each table.
MEANING = (
    "What a file says is no proof, and a file that says nothing means nothing: anybody can write, copy and remove "
    "metadata, and content delivery networks remove it."
)


@click.command("inspect")
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PHOTO...")
@json_option
def inspect_command(*, photos: tuple[Path, ...], as_json: bool) -> None:
    """Show what photos' files say of their origin: manifests, source types, generators, cameras.

    Without metadata a file says nothing, and that means nothing: anybody can remove metadata, and content delivery
    networks do. A camera's name is no proof that a photo is real. Nothing is fetched; UNMASK_PROVENANCE_TRUST_LIST
    names the certificates of whose holders signatures are trusted.

    With --json it prints one object for one PHOTO, and an array of them for several. Exits with 1 when a file could not
    be read; its row gives the reason.
    """
    from worker.core.settings import ProvenanceSettings
    from worker.photos.file_signals import SignalReader

    reader = SignalReader(ProvenanceSettings.load().model_copy(update={"provenance": "on"}))
    try:
        found = [_document(photo, reader) for photo in photos]
    finally:
        reader.close()
    if as_json:
        emit_json(found[0] if len(found) == 1 else found)
    else:
        _print(found)
    sys.exit(1 if any(document["reason"] for document in found) else 0)


def _document(photo: Path, reader: Any) -> dict[str, Any]:
    from trainer.errors import Rejected
    from trainer.files import open_file
    from trainer.pixels.limits import LIMITS, check_bytes
    from worker.provenance.container import file_type

    document: dict[str, Any] = {"signals": [], "photo": str(photo), "format": None, "reason": None}
    try:
        with open_file(photo) as file:
            data = file.read(LIMITS.max_bytes + 1)
        check_bytes(len(data))
    except Rejected as error:
        return document | {"reason": error.reason}
    except OSError as error:
        return document | {"reason": "not_found" if isinstance(error, FileNotFoundError) else "unreadable"}
    format_ = file_type(data)
    if format_ is None:
        return document | {"reason": "unsupported_format"}
    return document | {"format": format_, "signals": [asdict(signal) for signal in reader.read(data)]}


def _print(found: list[dict[str, Any]]) -> None:
    several = len(found) > 1
    rows = [
        ({"photo": document["photo"]} if several else {}) | signal
        for document in found
        for signal in document["signals"]
    ]
    emit(rows, as_json=False, empty="no signals")
    for document in found:
        if document["reason"]:
            click.echo(f"{document['photo']}: {document['reason']}", err=True)
    click.echo(MEANING, err=True)
