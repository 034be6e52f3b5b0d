"""The outermost middleware: request ids, the access log, the limit on concurrent requests, and unexpected errors."""

import json
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.api.http.problems import ProblemError, busy

log = logging.getLogger("unmask.api")

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}


class Edge:
    """Wraps the whole application; ``max_requests`` limits concurrent requests."""

    def __init__(self, app: ASGIApp, max_requests: int) -> None:
        self._app = app
        self._max_requests = max_requests
        self._in_hand = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request; other scopes pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal.response(answer.request_id)(scope, receive, answer.send)
            answer.log()
            return
        self._in_hand += 1
        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            log.exception("request %s failed", answer.request_id)
            if answer.status == 0:
                problem = ProblemError(
                    500, "internal", "the server failed: look for this request id in the log of the API"
                )
                await problem.response(answer.request_id)(scope, receive, answer.send)
        finally:
            self._in_hand -= 1
            answer.log()

    def _refusal(self, scope: Scope) -> ProblemError | None:
        headers = Headers(scope=scope)
        if "content-length" in headers and "transfer-encoding" in headers:  # a proxy may read another end of the body
            detail = "the request has both Content-Length and Transfer-Encoding: send one of them"
            return ProblemError(400, "framing", detail, headers={"Connection": "close"})  # as RFC 9112 demands
        if self._in_hand >= self._max_requests:
            detail = f"the server handles {self._max_requests} requests already: try again"
            return busy(detail, "UNMASK_API_MAX_REQUESTS", self._max_requests, 1)
        return None


class _Answer:
    """One response: its headers and its line in the log."""

    def __init__(self, scope: Scope, send: Send) -> None:
        given = Headers(scope=scope).get("x-request-id", "")
        self.request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = self.request_id
        self.status = 0
        self._scope, self._send = scope, send
        self._begun = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Send a message; the first one gets the headers of every response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS | {"X-Request-Id": self.request_id})
        await self._send(message)

    def log(self) -> None:
        """Log a line of JSON, except for a health check that succeeded."""
        if self._scope["path"] == "/healthz" and self.status == 200:  # noqa: PLR2004 - HTTP's own
            return
        line = {
            "request_id": self.request_id,
            "key": self._scope["state"].get("key"),
            "method": self._scope["method"],
            "path": self._scope["path"][:512],
            "status": self.status,
            "ms": round((time.perf_counter() - self._begun) * 1000, 1),
        }
        log.info("%s", json.dumps(line))
