"""Statements of reasons of confirmed cases, from what the platform says of its rules in ``UNMASK_DSA_*``.

People decide and the platform acts: the settings say what it does about a confirmed account. Nothing here sends.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from db.compliance.period import Period
from db.compliance.statement import EEA, Statement, as_document, problems
from db.errors import DbError, SettingsError
from db.schema import Case, Flag, Image, Review
from db.settings import Environment, split_commas

#: The database takes at most so many statements in one request.
PER_REQUEST = 100
_FACTS = (
    "A detector of AI-generated faces flagged {photos}. A member of our staff looked at {them} and decided that "
    "{they} AI-generated."
)


class DsaSettings(Environment):
    """What statements of reasons say of the platform's rules and of what it does about a confirmed account."""

    #: The restriction: of visibility, of the account, or both (values of the EU's transparency database).
    dsa_decision_visibility: Annotated[tuple[str, ...], BeforeValidator(split_commas)] = (
        "DECISION_VISIBILITY_CONTENT_REMOVED",
    )
    dsa_decision_account: str = ""
    #: The clause of the terms that AI-generated profile photos break, why they do, and where the terms are.
    dsa_ground: str = Field(default="", max_length=500)
    dsa_explanation: str = Field(default="", max_length=2000)
    dsa_ground_url: str = ""
    #: The category, and the countries in which the restriction holds ("DE,FR"; "EEA": all).
    dsa_category: str = "STATEMENT_CATEGORY_OTHER_VIOLATION_TC"
    dsa_territorial_scope: Annotated[tuple[str, ...], BeforeValidator(split_commas)] = ("EEA",)

    def check(self) -> None:
        """Raises `SettingsError` without the clause and its explanation: every statement needs them."""
        if not self.dsa_ground or not self.dsa_explanation:
            raise SettingsError("statements of reasons need UNMASK_DSA_GROUND and UNMASK_DSA_EXPLANATION")


def read_statements(session: Session, period: Period, settings: DsaSettings) -> Iterator[Statement]:
    """A statement for each confirming decision of the period that closed its case and still holds."""
    settings.check()
    undo, later = aliased(Review), aliased(Review)
    photos = select(func.count(Flag.image_id.distinct())).where(Flag.case_id == Case.id).scalar_subquery()
    uploaded = select(func.min(Image.created_at)).join(Flag, Flag.image_id == Image.id)
    uploaded = uploaded.where(Flag.case_id == Case.id)
    confirmed = select(later.id).where(
        later.case_id == Case.id, later.id > Review.id, later.decision == "confirmed",
        ~exists(select(undo.id).where(undo.undoes == later.id)),
    )  # fmt: skip
    statement = (
        select(Review.id, Review.created_at, Case.id, photos, uploaded.scalar_subquery())
        .join(Case, Case.id == Review.case_id)
        .where(Review.created_at >= period.start, Review.created_at < period.end, Review.decision == "confirmed")
        .where(Case.state == "confirmed", ~exists(confirmed))  # the last one: with two people, that of the second
        .where(~exists(select(undo.id).where(undo.undoes == Review.id)))
        .order_by(Review.created_at, Review.id)
    )
    for review_id, decided, case_id, count, first in session.execute(statement):
        yield _statement(settings, f"unmask-{case_id}-{review_id}", count, first or decided, decided)


def requests(statements: Iterable[Statement]) -> Iterator[str]:
    """Bodies of requests, a line each, as the database takes them."""
    batch: list[dict[str, Any]] = []
    for statement in statements:
        batch.append(as_document(statement))
        if len(batch) == PER_REQUEST:
            yield json.dumps({"statements": batch})
            batch = []
    if batch:
        yield json.dumps({"statements": batch})


def check_lines(lines: Iterable[str]) -> Iterator[str]:
    """What the database would refuse in such lines: "line 1, statement 2 (puid): ..."."""
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
        except ValueError as error:
            yield f"line {number}: not JSON: {error}"
            continue
        statements = found.get("statements") if isinstance(found, dict) else None
        if not isinstance(statements, list) or not 1 <= len(statements) <= PER_REQUEST:
            yield f'line {number}: not {{"statements": [...]}} with 1 to {PER_REQUEST} statements'
            continue
        for place, document in enumerate(statements, 1):
            puid = document.get("puid") if isinstance(document, dict) else None
            yield from (f"line {number}, statement {place} ({puid}): {why}" for why in problems(document))


def _statement(settings: DsaSettings, puid: str, photos: int, uploaded: Any, decided: Any) -> Statement:
    one, scope = photos == 1, settings.dsa_territorial_scope
    document = {
        "puid": puid,
        "decision_visibility": list(settings.dsa_decision_visibility) or None,
        "decision_account": settings.dsa_decision_account or None,
        "decision_ground": "DECISION_GROUND_INCOMPATIBLE_CONTENT",
        "decision_ground_reference_url": settings.dsa_ground_url or None,
        "incompatible_content_ground": settings.dsa_ground,
        "incompatible_content_explanation": settings.dsa_explanation,
        "content_type": ["CONTENT_TYPE_SYNTHETIC_MEDIA"],
        "category": settings.dsa_category,
        "territorial_scope": list(EEA if scope == ("EEA",) else scope),
        "content_date": uploaded.date(),
        "application_date": decided.date(),
        "decision_facts": _FACTS.format(
            photos="one profile photo" if one else f"{photos} profile photos",
            them="it" if one else "them",
            they="it is" if one else "they are",
        ),
        "source_type": "SOURCE_VOLUNTARY",
        "automated_detection": "Yes",
        "automated_decision": "AUTOMATED_DECISION_NOT_AUTOMATED",
    }
    try:
        return Statement.model_validate(document)
    except ValidationError as error:
        why = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise DbError(f"statement {puid} would be refused: {why}; change UNMASK_DSA_*") from error
