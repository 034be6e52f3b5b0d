"""The ASGI application of the HTTP API: its routes, and the checks before each operation."""

import logging
import time
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from db.access import api_keys
from db.access.api_keys import Caller
from db.api import openapi
from db.api.auth import authenticate
from db.api.context import Api, Call
from db.api.endpoints import catalogue
from db.api.http.edge import Edge
from db.api.http.problems import ProblemError, from_error
from db.api.operations import OPERATIONS, Operation
from db.api.settings import ApiSettings
from db.errors import DatabaseError, DbError
from db.store.session import Database

log = logging.getLogger("unmask.api")

#: Seconds between two updates of a key's ``last_used_at`` by one process.
_NOTE_S = 60.0


def build_api(database: Database, settings: ApiSettings) -> ASGIApp:
    """Build the ASGI application with every operation, ``/healthz``, ``/openapi.json`` and ``/docs``."""
    api = Api(database, settings)
    described = openapi.openapi_document()
    routes = [Route("/healthz", _open(api, catalogue.report_health), methods=["GET"])]
    routes += [Route("/openapi.json", lambda _request: JSONResponse(described), methods=["GET"])]
    routes += [Route("/docs", lambda _request: HTMLResponse(openapi.docs_page()), methods=["GET"])]
    paths = dict.fromkeys(operation.path for operation in OPERATIONS)
    routes += [_route(api, path, [each for each in OPERATIONS if each.path == path]) for path in paths]
    return Edge(Starlette(routes=routes, exception_handlers={HTTPException: _no_route}), settings.api_max_requests)


def _route(api: Api, path: str, operations: list[Operation]) -> Route:
    """One route for all methods of a path, so that a 405 lists the allowed methods. Ids may contain slashes."""
    gates = {operation.method: Gate(api, operation) for operation in operations}

    async def answer(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await gates[method].answer(request)

    return Route(path.replace("_id}", "_id:path}"), answer, methods=list(gates))


class Gate:
    """Authenticates and limits a request, then calls its operation."""

    def __init__(self, api: Api, operation: Operation) -> None:
        self._api = api
        self._operation = operation
        self._noted: dict[int, float] = {}

    async def answer(self, request: Request) -> Response:
        """Answer a request; an error becomes a problem. The key is checked before the body is read."""
        try:
            caller = await self._api.run(lambda: self._let_in(request))
            request.state.key = caller.name
            self._api.rates.take(caller)
            with self._api.bodies.hold() as held:
                return await self._operation.handler(Call(self._api, request, caller, held))
        except DbError as error:
            return refused(request, error)

    def _let_in(self, request: Request) -> Caller:
        caller = authenticate(self._api.database, request, self._operation.scopes)
        now = time.monotonic()
        if now - self._noted.get(caller.key_id, -_NOTE_S) >= _NOTE_S:
            with self._api.database.writing() as session:
                api_keys.note_use(session, caller.key_id)
            self._noted[caller.key_id] = now
        return caller


def refused(request: Request, error: DbError) -> Response:
    """The response for an error. A database's own message goes to the log only."""
    if isinstance(error, DatabaseError):
        log.error("request %s: %s", request.state.request_id, error)
    return from_error(error).response(request.state.request_id)


def _open(api: Api, handler: Callable[[Api], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that needs no key."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(api)
        except DbError as error:
            return refused(request, error)

    return answer


def _no_route(request: Request, error: Exception) -> Response:
    """The response when no route has the path, or the path does not allow the method."""
    status, headers = 404, {}
    if isinstance(error, HTTPException):
        status, headers = error.status_code, dict(error.headers or {})
    method = status == 405  # noqa: PLR2004 - HTTP's own
    detail = f"this path does not allow {request.method}" if method else "no such path: see /docs"
    problem = ProblemError(status, "method" if method else "not_found", detail, headers=headers)
    return problem.response(request.state.request_id)
