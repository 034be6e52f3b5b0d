"""The JSON documents of requests and responses. The OpenAPI schemas are generated from them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from db.api.http.problems import Problem
from db.schema import ID_LENGTH

State = Literal["pending", "scored", "unusable", "failed"]
Lane = Literal["upload", "backfill"]

#: Characters in a URL or path.
MAX_URL = 4096
#: Ids have no control characters.
_ID = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"


class PhotoFields(BaseModel):
    """The account, policy and lane of a photo."""

    model_config = ConfigDict(extra="forbid", strict=True)

    account_id: str = Field(min_length=1, max_length=ID_LENGTH, pattern=_ID, description="The photo's account.")
    image_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=ID_LENGTH,
        pattern=_ID,
        description="Your id, if you have one. It stands for one photo: submitting it again adds nothing.",
    )
    policy: str | None = Field(
        default=None,
        min_length=1,
        max_length=ID_LENGTH,
        pattern=_ID,
        description="By default the key's, or 'default'.",
    )
    lane: Lane = Field(default="upload", description="'backfill' is scored after all uploads.")


class PhotoByUrl(PhotoFields):
    """A photo that workers fetch from its URL."""

    url: str = Field(min_length=1, max_length=MAX_URL, description="http(s) on an allowed host, or a path.")


class NewUrl(BaseModel):
    """A new URL of the same photo."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: str = Field(min_length=1, max_length=MAX_URL, description="http(s) on an allowed host, or a path.")


class AccountFactsDocument(RootModel[dict[str, Any]]):
    """Facts about an account by name, for reviewers: texts, numbers, yes or no. At most 16,384 characters of JSON."""


class Accepted(BaseModel):
    """The photo is recorded."""

    image_id: str
    state: State


class SignalDocument(BaseModel):
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
        default=None, description="Of a detector: at most 1 in so many real photos looks like this (95 % sure)."
    )


class VerdictDocument(BaseModel):
    """The verdict on a photo. Without a score there is none, which does not mean that the photo is real."""

    image_id: str
    state: State = Field(description="unusable: the photo is at fault. failed: Unmask or the photo's host is.")
    score: float | None = Field(description="0 is real, 1 is AI-generated.")
    flagged: bool | None = Field(description="null: there is no verdict, or the photo is unstable.")
    threshold: float | None = Field(description="The one that flagged the photo, or its policy's current one.")
    one_in: float | None = Field(
        description="1 in so many real photos of the reference scores as high; their number where none does."
    )
    model: str | None
    reason: str | None = Field(description="A code that says why there is no score (yet).")
    flagged_by: str | None = Field(
        default=None, description="'score', 'provenance' (what its file says) or 'score+provenance'; null: not flagged."
    )
    evidence: str | None = Field(default=None, description="What its file says, where that flagged the photo.")
    verdict: Literal["flagged", "unstable", "clear"] | None = Field(
        default=None,
        description="unstable: other deliveries of the photo score on both sides of the threshold. A person is to see "
        "it; until then it is neither flagged nor clear.",
    )
    score_low: float | None = Field(
        default=None, description="The lowest score over other deliveries of the photo; null: not measured."
    )
    score_high: float | None = Field(default=None, description="The highest.")
    one_in_at_least: float | None = Field(
        default=None, description="The same with 95 % confidence: at most 1 in so many real photos scores as high."
    )
    reference: str | None = Field(
        default=None, description="The real photos that were counted: those by which the policy's threshold was set."
    )
    signals: list[SignalDocument] = Field(
        default_factory=list, description="What is known besides the score. None means nothing: files can be stripped."
    )


class BatchLine(BaseModel):
    """The result of one line of a batch: an image or a problem."""

    line: int = Field(description="The number of the line, from 1.")
    status: int
    image_id: str | None = None
    state: State | None = None
    problem: Problem | None = None


class ModelDocument(BaseModel):
    """A model version."""

    name: str
    sha256: str
    state: Literal["candidate", "shadow", "active", "retired"]
    registered_at: datetime


class PolicyDocument(BaseModel):
    """A policy and its current threshold for the active model."""

    name: str
    weight: int
    threshold: float | None
    target_fpr: float | None
    measured_fpr: float | None
    own_threshold: bool = Field(description="false: the threshold of the policy 'default' applies.")


class Models(BaseModel):
    """Every model version."""

    models: list[ModelDocument]


class Policies(BaseModel):
    """Every policy that the key may use."""

    policies: list[PolicyDocument]


class HealthDocument(BaseModel):
    """The API and its database answer."""

    status: Literal["ok"]
