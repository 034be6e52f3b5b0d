"""The errors of this package. Each is an `UnmaskError`; a wrong argument raises ValueError or TypeError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class UnmaskError(Exception):
    """Anything that this package raises itself, except a ValueError or TypeError for a wrong argument."""


class ConflictError(UnmaskError):
    """The image id already stands for another photo."""


class UnreachableError(UnmaskError):
    """The server did not answer, or its answer was not valid. Trying again is safe."""


class HttpError(UnmaskError):
    """The server refused a request and said why.

    Attributes:
        status: the HTTP status.
        title: the kind of problem.
        detail: what is wrong, with the limit and the value; empty if the server gave none.
        retry_after: seconds to wait before trying again; None if the server named none.
        problem: the server's whole problem document (RFC 9457); empty if a proxy answered instead of the server.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        retry_after: float | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"HTTP {status} {title}: {detail}" if detail else f"HTTP {status} {title}")
        self.status = status
        self.title = title
        self.detail = detail
        self.retry_after = retry_after
        self.problem = dict(problem or {})


class HttpConflictError(HttpError, ConflictError):
    """HTTP 409: the image id already stands for another photo."""


class WebhookError(UnmaskError):
    """The request is not a webhook of Unmask, or it is too old. Answer it with status 400."""
