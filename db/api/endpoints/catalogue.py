"""``/v1/models``, ``/v1/policies`` and ``/healthz``."""

from sqlalchemy import select
from starlette.responses import Response

from db.api.context import Api, Call
from db.api.documents import HealthDocument, ModelDocument, Models, Policies, PolicyDocument
from db.models import versions
from db.policy import policies, thresholds
from db.policy.coverage import DEFAULT
from db.schema import Policy, Threshold


async def show_models(call: Call) -> Response:
    """Answer with every model version."""
    return _json(await call.run(_models, call))


async def show_policies(call: Call) -> Response:
    """Answer with every policy that the key may use and its current threshold."""
    return _json(await call.run(_policies, call))


async def report_health(api: Api) -> Response:
    """Answer 200 when the database answers; needs no key. Raises `DatabaseError` otherwise."""

    def ask() -> None:
        with api.database.reading() as session:
            session.execute(select(1))

    await api.run(ask)
    return _json(HealthDocument(status="ok"))


def _models(call: Call) -> Models:
    with call.database.reading() as session:
        return Models(
            models=[
                ModelDocument.model_validate(
                    {"name": row.name, "sha256": row.sha256, "state": row.state, "registered_at": row.created_at}
                )
                for row in versions.list_versions(session)
            ]
        )


def _policies(call: Call) -> Policies:
    with call.database.reading() as session:
        active = versions.find_active(session)
        rows = thresholds.in_effect(session, active.id) if active is not None else []
        holding = {row.policy: row for row in rows}
        known = [row for row in policies.list_policies(session) if call.sees(row.name)]
        return Policies(policies=[_policy(row, holding) for row in known])


def _policy(row: Policy, holding: dict[str, Threshold]) -> PolicyDocument:
    threshold = holding.get(row.name) or holding.get(DEFAULT)
    return PolicyDocument(
        name=row.name,
        weight=row.weight,
        threshold=threshold.value if threshold else None,
        target_fpr=threshold.target_fpr if threshold else None,
        measured_fpr=threshold.measured_fpr if threshold else None,
        own_threshold=row.name in holding,
    )


def _json(document: Models | Policies | HealthDocument) -> Response:
    return Response(document.model_dump_json(), media_type="application/json")
