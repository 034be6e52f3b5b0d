"""Every operation of the HTTP API: path, scopes, request and response types. `db.api.openapi` describes them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from db.api.context import Call
from db.api.documents import (
    Accepted,
    AccountFactsDocument,
    BatchLine,
    Models,
    NewUrl,
    PhotoByUrl,
    PhotoFields,
    Policies,
    VerdictDocument,
)
from db.api.endpoints import accounts, batch, catalogue, images, pictrs

Handler = Callable[[Call], Awaitable[Response]]
JSON = "application/json"
FORM = "multipart/form-data"
IMAGE = "image/*"

#: The statuses of the problems that every operation with a key may answer.
_ALWAYS = (401, 403, 422, 429, 500, 503)
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "description": f"wait=N: wait up to N seconds (at most {images.MAX_WAIT_S}) for the verdict. Needs the scope read.",
    "schema": {"type": "string", "examples": ["wait=10"]},
}
_MISSING = {
    "name": "missing",
    "in": "query",
    "description": "Whether to accept a photo that has no verdict in time.",
    "schema": {"type": "string", "enum": ["refuse", "accept"], "default": "refuse"},
}


@dataclass(frozen=True, slots=True)
class Given:
    """A successful response of an operation."""

    description: str
    model: type[BaseModel] | None = None
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of a path and its handler. ``takes`` maps each media type of the body to the model of its fields."""

    method: str
    path: str
    handler: Handler
    scopes: tuple[str, ...]
    summary: str
    gives: Mapping[int, Given]
    takes: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    parameters: tuple[Mapping[str, Any], ...] = ()
    problems: tuple[int, ...] = ()

    @property
    def refusals(self) -> tuple[int, ...]:
        """Every status that the operation answers with a problem."""
        return tuple(sorted({*_ALWAYS, *self.problems}))


_ACCEPTED = Given("The photo waits for a score, or was submitted before. Location is its verdict's URL.", Accepted)
_VERDICT = Given("The verdict.", VerdictDocument)
_IMAGE = "/v1/images/{image_id}"
_FACTS = "/v1/accounts/{account_id}/facts"

OPERATIONS = (
    Operation(
        "POST",
        "/v1/images",
        images.submit,
        ("submit",),
        "Submit a photo: its URL as JSON, a form with the file `photo`, or the bytes with the fields in the query.",
        {202: _ACCEPTED, 200: _VERDICT},
        {JSON: PhotoByUrl, FORM: PhotoFields, IMAGE: PhotoFields},
        (_PREFER,),
        (400, 404, 408, 409, 413, 415),
    ),
    Operation(
        "POST",
        "/v1/images:batch",
        batch.submit,
        ("submit",),
        f"Submit up to {batch.MAX_LINES} photos by URL, a JSON document a line; each line succeeds or fails alone.",
        {200: Given("One result for each line, in their order.", BatchLine, batch.MEDIA_TYPE)},
        {batch.MEDIA_TYPE: PhotoByUrl},
        (),
        (400, 408, 413, 415),
    ),
    Operation(
        "GET",
        _IMAGE,
        images.show,
        ("read",),
        "Read the verdict on a photo.",
        {200: _VERDICT},
        {},
        (_PREFER,),
        (404,),
    ),
    Operation(
        "PUT",
        _IMAGE,
        images.change,
        ("submit",),
        "Give a photo without a score a new URL; it waits for its score again.",
        {202: _ACCEPTED},
        {JSON: NewUrl},
        (),
        (400, 404, 408, 409, 413, 415),
    ),
    Operation(
        "DELETE",
        _IMAGE,
        images.take_back,
        ("delete",),
        "Delete a photo: its account and URL are erased, and it is no longer scored if it waits.",
        {204: Given("The photo is deleted.")},
        {},
        (),
        (404,),
    ),
    Operation(
        "PUT",
        _FACTS,
        accounts.set_facts,
        ("submit",),
        "Say what you know of an account: reviewers read it beside the account's cases, as long as those are kept.",
        {204: Given("The facts are recorded, in place of earlier ones.")},
        {JSON: AccountFactsDocument},
        (),
        (400, 408, 413, 415),
    ),
    Operation(
        "DELETE",
        _FACTS,
        accounts.delete_facts,
        ("delete",),
        "Delete what you said of an account.",
        {204: Given("The facts are deleted.")},
        {},
        (),
        (404,),
    ),
    Operation(
        "GET",
        "/v1/models",
        catalogue.show_models,
        ("read",),
        "List the model versions; the active one gives the verdicts.",
        {200: Given("Every model version.", Models)},
    ),
    Operation(
        "GET",
        "/v1/policies",
        catalogue.show_policies,
        ("read",),
        "List the policies with their thresholds.",
        {200: Given("The policies that the key may use.", Policies)},
    ),
    Operation(
        "POST",
        "/v1/pict-rs",
        pictrs.validate,
        ("submit", "read"),
        "Validate an upload of pict-rs: 204 keeps the photo, any other status refuses it.",
        {204: Given("The photo is not flagged.")},
        {IMAGE: PhotoFields},
        (_MISSING,),
        (400, 406, 408, 409, 413, 415),
    ),
)
