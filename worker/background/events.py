"""The events that webhooks tell of, and what each carries: `deploy/EVENTS.md` shows their schemas."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, PlainSerializer, WithJsonSchema

from db.policy.verdicts import Outcome
from db.work.deliveries import ChangedCase, LeasedDelivery

#: When each kind of event is sent.
WHEN = {
    "case.opened": "A photo was flagged, or found unstable, whose account had no open case under its policy.",
    "case.confirmed": "Reviewers confirmed the case.",
    "case.dismissed": "Reviewers dismissed the case.",
    "case.withdrawn": "The thresholds or the model changed, and flag none of the case's photos any more.",
    "case.reopened": "Somebody appealed against the decision, or it was undone.",
    "image.scored": "A photo got its first score. A score of another model, later, is not told.",
    "image.flagged": "A photo was flagged: it is now one of the photos of an open case. It is told once for each case. "
    "An unstable photo is not flagged.",
    "image.failed": "A photo has no score and will not be tried again, until somebody asks for it.",
}

_Moment = Annotated[
    datetime,
    PlainSerializer(datetime.isoformat),
    WithJsonSchema({"type": "string", "format": "date-time"}),
    Field(description="When it happened."),
]


class CaseData(BaseModel):
    """The case as it is when the request is made; `version` is that of the event."""

    case: int
    version: int = Field(description="Grows with each change of the case: the highest is the latest.")
    account: str
    policy: str
    images: list[str] = Field(description="The ids of its photos: those flagged, and those found unstable.")


class SignalData(BaseModel):
    """What is known besides the score. What a file says anybody can write, copy and remove, if it is not signed."""

    kind: str = Field(
        description="provenance.ai, provenance.ai_edited, provenance.camera (no proof), provenance.credentials, "
        "provenance.unread; detector (one of the two of a model that needs both); others may follow."
    )
    value: str
    where: str = Field(description="The field in which it was found; the name of a detector.")
    trust: str | None = Field(description="valid, untrusted, invalid (of a C2PA signature) or unsigned.")
    action: Literal["flag", "note"] | None = Field(description="What the photo's policy does about it.")
    one_in_at_least: float | None = Field(
        description="Of a detector: at most 1 in so many real photos looks like this (95 % sure)."
    )


class ImageData(BaseModel):
    """The verdict as it is when the request is made: what `GET /v1/images/{id}` answers."""

    image_id: str
    account_id: str
    state: Literal["pending", "scored", "unusable", "failed"] = Field(
        description="unusable: the photo's fault. failed: ours, or its host's. pending: somebody had it tried again."
    )
    score: float | None = Field(description="0 is real, 1 is AI-generated.")
    flagged: bool | None = Field(
        description="null: nothing can be said, or it is unstable. false once its case was withdrawn."
    )
    threshold: float | None = Field(description="The one that flagged it, or the one that holds for its policy.")
    one_in: float | None = Field(
        description="1 in so many real photos of the reference scores as high; their number where none does."
    )
    model: str | None = Field(description="The model version that gave the score.")
    reason: str | None = Field(description="Why there is no score: a code.")
    flagged_by: str | None = Field(
        description="What raised its flag: score, provenance (what its file says) or score+provenance."
    )
    evidence: str | None = Field(description="What its file says, where that flagged it.")
    verdict: Literal["flagged", "unstable", "clear"] | None = Field(
        description="unstable: other deliveries of the photo score on both sides of the threshold. A person is to see "
        "it; until then it is neither flagged nor clear."
    )
    score_low: float | None = Field(
        description="The lowest score over other deliveries of the photo; null: not measured."
    )
    score_high: float | None = Field(description="The highest.")
    one_in_at_least: float | None = Field(
        description="The same with 95 % confidence: at most 1 in so many real photos scores as high."
    )
    reference: str | None = Field(
        description="The real photos that were counted: those by which the policy's threshold was set."
    )
    signals: list[SignalData] = Field(description="What is known besides the score. None means nothing.")


class CaseEvent(BaseModel):
    """What happened to a case."""

    type: Literal["case.opened", "case.confirmed", "case.dismissed", "case.withdrawn", "case.reopened"]
    timestamp: _Moment
    data: CaseData


class ImageEvent(BaseModel):
    """What happened to a photo."""

    type: Literal["image.scored", "image.flagged", "image.failed"]
    timestamp: _Moment
    data: ImageData


#: What a request's body may be.
EVENTS = (CaseEvent, ImageEvent)


def case_event(delivery: LeasedDelivery, case: ChangedCase) -> CaseEvent:
    """The event of a leased delivery of a case."""
    data = CaseData(
        case=case.case_id, version=case.version, account=case.account_id, policy=case.policy, images=case.image_ids
    )
    return CaseEvent.model_validate({"type": delivery.kind, "timestamp": delivery.at, "data": data})


def image_event(delivery: LeasedDelivery, outcome: Outcome) -> ImageEvent:
    """The event of a leased delivery of an image."""
    verdict = outcome.verdict
    data = {name: getattr(verdict, name) for name in ImageData.model_fields if name != "account_id"}
    data["account_id"] = outcome.account_id
    return ImageEvent.model_validate({"type": delivery.kind, "timestamp": delivery.at, "data": data})
