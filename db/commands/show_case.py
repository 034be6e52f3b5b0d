"""A case as reviewers need it: its photos, what their scores mean, its history, and the command that decides it."""

from typing import Any

import click
from sqlalchemy.orm import Session

from db.commands.output import emit, emit_json
from db.models.score_odds import OddsReader
from db.review.case_timeline import case_timeline
from db.review.cases import FlaggedPhoto, flagged_photos, get_case
from db.review.settings import ReviewSettings
from db.schema import Case


def case_document(session: Session, case_id: int, *, blind: bool) -> dict[str, Any]:
    """The case as a document; ``blind``: without scores and everything that tells them. Raises `NotFoundError`."""
    case = get_case(session, case_id)
    odds = OddsReader()
    photos = [_photo(flag, None if blind else _means(session, odds, flag)) for flag in flagged_photos(session, case_id)]
    if blind:
        photos.sort(key=lambda photo: photo["image"])  # not by score
    events = [
        {"at": event.at, "who": event.who, "what": event.what, "text": event.text}
        for event in case_timeline(session, case_id, blind=blind)
    ]
    return _head(case) | {"blind": blind, "photos": photos, "events": events}


def print_case(document: dict[str, Any] | None, *, as_json: bool, empty: str) -> None:
    """Print a case, and the command that decides it."""
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
        command = f"unmask review decide {document['case']} confirmed|dismissed|unsure --version {document['version']}"
        click.echo(f"{command} [--reason {'|'.join(ReviewSettings.load().review_reasons)}] [--note TEXT]", err=True)


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


def _means(session: Session, odds: OddsReader, flag: FlaggedPhoto) -> dict[str, Any]:
    """How rare such a score is, on the reference of the threshold that flagged the photo."""
    reference = flag.threshold.reference if flag.threshold is not None else None
    found = odds.find(session, flag.version.name, reference, flag.score.score)
    return {"means": found.words if found is not None else None}


def _photo(flag: FlaggedPhoto, means: dict[str, Any] | None) -> dict[str, Any]:
    """A photo as a document; ``means`` is None for a blind reviewer."""
    photo = {"image": flag.image.id, "url": flag.image.url}
    if means is None:
        return photo
    return photo | {
        "score": flag.score.score,
        "threshold": flag.threshold.value if flag.threshold is not None else None,
        "model": flag.version.name,
        **means,
        "flagged_by": flag.kind,
        "evidence": flag.evidence,
        "score_low": flag.score.low,
        "score_high": flag.score.high,
    }
