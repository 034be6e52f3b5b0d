"""Errors as RFC 9457 problems (``application/problem+json``), with the name and value of the limit, if any."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from pydantic import BaseModel, Field
from starlette.responses import Response

from db.errors import ConflictError, DatabaseError, DatabaseUnavailableError, DbError, NotFoundError

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """Why the API refused a request or a line of a batch."""

    type: str = Field(description="urn:unmask:problem:CODE. The code is stable: clients may compare it.")
    title: str
    status: int
    detail: str = Field(description="The thing, what is wrong with it and what to do.")
    limit: str | None = Field(default=None, description="The name of the limit that was reached.")
    value: int | float | None = Field(default=None, description="The limit's value.")
    request_id: str | None = Field(default=None, description="The id in X-Request-Id and in the log of the API.")


@dataclass
class ProblemError(DbError):
    """A refusal. ``retry_after_s``: seconds after which the same request may succeed."""

    status: int
    code: str
    detail: str
    limit: str | None = None
    value: float | None = None
    retry_after_s: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.detail

    def document(self, request_id: str | None = None) -> Problem:
        """The problem as a JSON document."""
        return Problem(
            type=f"urn:unmask:problem:{self.code}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            limit=self.limit,
            value=self.value,
            request_id=request_id,
        )

    def response(self, request_id: str | None = None) -> Response:
        """The response to the client."""
        headers = dict(self.headers)
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        body = self.document(request_id).model_dump_json(exclude_none=True)
        return Response(body, self.status, headers, MEDIA_TYPE)


def invalid(detail: str, code: str = "invalid") -> ProblemError:
    """A problem 422: a value is not allowed."""
    return ProblemError(422, code, detail)


def too_large(what: str, limit: str, value: int) -> ProblemError:
    """A problem 413: ``what`` is larger than ``value`` bytes."""
    return ProblemError(413, "too_large", f"{what} is larger than {value} bytes: send a smaller one", limit, value)


def busy(detail: str, limit: str, value: float, retry_after_s: int) -> ProblemError:
    """A problem 503: a limit on current work is reached."""
    return ProblemError(503, "busy", detail, limit, value, retry_after_s)


def from_error(error: DbError) -> ProblemError:
    """The problem that an error means to a client. A database's own message is left out."""
    match error:
        case ProblemError():
            return error
        case DatabaseUnavailableError():
            return ProblemError(503, "record_away", "the database cannot be reached: try again", retry_after_s=5)
        case DatabaseError():
            return ProblemError(500, "internal", "the database failed: look for this request id in the log of the API")
        case NotFoundError():
            return ProblemError(404, "not_found", str(error))
        case ConflictError():
            return ProblemError(409, "conflict", str(error))
    return invalid(str(error))
