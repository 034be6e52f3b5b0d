"""``/v1/accounts``: what the platform says of an account, which reviewers read beside its cases."""

from pydantic import ValidationError
from starlette.responses import Response

from db.access import audit
from db.api.context import Call
from db.api.documents import AccountFactsDocument
from db.api.endpoints.images import JSON_BYTES
from db.api.http.body import read_body
from db.api.http.problems import ProblemError, invalid
from db.errors import DbError
from db.review import case_context


async def set_facts(call: Call) -> Response:
    """Record the facts about an account in place of earlier ones; raises `ProblemError`."""
    body = await read_body(call.request, call.held, call.body_limit(JSON_BYTES, "a JSON body"))
    try:
        facts = AccountFactsDocument.model_validate_json(body).root
    except ValidationError:
        raise invalid('the body must be a JSON object of facts: {"Reports": 2, "Plan": "free"}') from None
    await call.run(_set, call, _account_id(call), facts)
    return Response(status_code=204)


async def delete_facts(call: Call) -> Response:
    """Delete the facts about an account; raises `ProblemError` 404 where there are none."""
    if not await call.run(_delete, call, _account_id(call)):
        raise ProblemError(404, "not_found", "there are no facts about this account")
    return Response(status_code=204)


def _account_id(call: Call) -> str:
    return str(call.request.path_params["account_id"])


def _set(call: Call, account_id: str, facts: dict[str, object]) -> None:
    try:
        with call.database.writing() as session:
            case_context.set_facts(session, account_id, facts)
            audit.log(session, call.caller.name, "set_facts", detail=f"{len(facts)} facts")
    except DbError as error:
        raise invalid(str(error)) from error


def _delete(call: Call, account_id: str) -> bool:
    with call.database.writing() as session:
        return case_context.delete_facts(session, account_id)
