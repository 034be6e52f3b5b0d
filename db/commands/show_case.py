"""A case as a reviewer needs it: its photos with what their scores mean, everything that happened, and what to do."""

from typing import Any

import click
from sqlalchemy.orm import Session

from db.review.cases import FlagLine, show_case
from db.output import emit, emit_json
from db.models.rarity import in_words
from db.review.review_settings import ReviewSettings
from db.schema import Case, ModelVersion
from db.review.timeline import timeline


def case_document(session: Session, case_id: int, *, blind: bool) -> dict[str, Any]:
    """All of it; ``blind``: without scores, and what hangs on them."""
    case, flags = show_case(session, case_id)
    photos = [_photo(session, flag, blind=blind) for flag in flags]
    if blind:
        photos.sort(key=lambda photo: photo["image"])  # not by score
    events = [
        {"at": event.at, "who": event.who, "what": event.what, "text": event.text}
        for event in timeline(session, case_id, blind=blind)
    ]
    return _head(case) | {"blind": blind, "photos": photos, "events": events}


def say_case(document: dict[str, Any] | None, *, as_json: bool, empty: str) -> None:
    """Print it, and how to decide it."""
    if as_json:
        emit_json(document)
        return
    if document is None:
        click.echo(empty)
        return
    head = {name: value for name, value in document.items() if name not in ("photos", "events")}
    for rows in ([head], document["photos"], document["events"]):
        emit(rows, as_json=False, empty="")
    if document["state"] == "open":
        said = f"unmask review decide {document['case']} confirmed|dismissed|unsure --version {document['version']}"
        click.echo(f"{said} [--reason {'|'.join(ReviewSettings.load().review_reasons)}] [--note TEXT]", err=True)


def _head(case: Case) -> dict[str, Any]:
    return {
        "case": case.id,
        "version": case.version,
        "account": case.account_id,
        "policy": case.policy,
        "state": case.state,
        "second_person": case.second,
        "held_by": case.held_by,
        "held_until": case.held_until,
        "opened_at": case.created_at,
    }


def _photo(session: Session, flag: FlagLine, *, blind: bool) -> dict[str, Any]:
    photo = {"image": flag.image.id, "url": flag.image.url}
    if blind:
        return photo
    model = session.get_one(ModelVersion, flag.score.version_id)
    return photo | {
        "score": flag.score.score,
        "threshold": flag.threshold.value,
        "model": model.name,
        "means": in_words(model, flag.score.score),
    }
