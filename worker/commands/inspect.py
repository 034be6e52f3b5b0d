"""``unmask inspect``: what photos' files say of their origin, and what a detector says of their pixels."""

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
#: Of a score, what a table has room for.
_SHOWN = ("photo", "detector", "score", "means")


@click.command("inspect")
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PHOTO...")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="A detector's file: scores the photos, too.")
@click.option("--policy", help="Scores them as this policy's photos: with the active model, on the policy's reference.")
@json_option
def inspect_command(*, photos: tuple[Path, ...], checkpoint: Path | None, policy: str | None, as_json: bool) -> None:
    """Show what photos' files say of their origin: manifests, source types, generators, cameras.

    Without metadata a file says nothing, and that means nothing: anybody can remove metadata, and content delivery
    networks do. A camera's name is no proof that a photo is real. Nothing is fetched; UNMASK_PROVENANCE_TRUST_LIST
    names the certificates of whose holders signatures are trusted.

    With --checkpoint or --policy it also tells each detector's score, and how rare that is: "1 in 1,600 real photos
    looks like this", on the real photos of the checkpoint's card or on those by which the policy's threshold was set.
    Only --policy reads the database.

    With --json it prints one object for one PHOTO, and an array of them for several. Exits with 1 when a file could not
    be read; its row gives the reason.
    """
    from worker.core.settings import ProvenanceSettings
    from worker.photos.file_signals import SignalReader

    scorer = _scorer(checkpoint, policy)
    reader = SignalReader(ProvenanceSettings.load().model_copy(update={"provenance": "on"}))
    try:
        found = [_document(photo, reader, scorer) for photo in photos]
    finally:
        reader.close()
    if as_json:
        emit_json(found[0] if len(found) == 1 else found)
    else:
        _print(found)
    sys.exit(1 if any(document["reason"] for document in found) else 0)


def _scorer(checkpoint: Path | None, policy: str | None) -> Any:
    if checkpoint is not None and policy is not None:
        raise click.UsageError("give --checkpoint or --policy, not both: a policy has its model")
    if checkpoint is None and policy is None:
        return None
    from worker.commands.photo_scores import PhotoScorer

    return PhotoScorer.of_file(checkpoint) if checkpoint is not None else PhotoScorer.of_policy(policy or "")


def _document(photo: Path, reader: Any, scorer: Any) -> dict[str, Any]:
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
    document |= {"format": format_, "signals": [asdict(signal) for signal in reader.read(data)]}
    return document if scorer is None else document | _scores(data, scorer)


def _scores(data: bytes, scorer: Any) -> dict[str, Any]:
    from trainer.errors import Rejected
    from worker.core.errors import OutOfDomainError

    try:
        return {"scores": scorer.rows(data)}
    except (Rejected, OutOfDomainError) as error:
        return {"scores": [], "reason": error.reason}


def _print(found: list[dict[str, Any]]) -> None:
    emit(_rows(found, "signals"), as_json=False, empty="no signals")
    scores = [{name: row[name] for name in row if name in _SHOWN} for row in _rows(found, "scores")]
    if scores:
        emit(scores, as_json=False, empty="")
    for document in found:
        if document["reason"]:
            click.echo(f"{document['photo']}: {document['reason']}", err=True)
    click.echo(MEANING, err=True)


def _rows(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The rows of all documents; of several photos each row names its own."""
    named = len(found) > 1
    return [
        ({"photo": document["photo"]} if named else {}) | row for document in found for row in document.get(kind, ())
    ]
