"""Whatever a client sends that knows the OpenAPI document, the door answers as the document says, and with no 500."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from db.api.endpoints import pictrs
from tests.unit.db.api.doors import Door

pytestmark = pytest.mark.slow


@schemathesis.serializer("application/x-ndjson")
def _as_lines(_context: Any, value: Any) -> bytes:
    return str(value).encode()


@pytest.mark.timeout(600)
def test_the_door_keeps_what_its_description_promises(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictrs, "_WAIT_S", 0.1)
    described = schemathesis.openapi.from_url(f"{door.url}/openapi.json")
    tried = []
    results: list[Any] = list(described.get_all_operations())
    for operation in (result.ok() for result in results):
        _try(operation, {"Authorization": f"Bearer {door.key}", "Prefer": "wait=1"})  # not for half a minute each
        tried.append(operation.label)
    assert len(tried) == 11


def _try(operation: Any, headers: dict[str, str]) -> None:
    @settings(
        max_examples=25,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        answer = case.call(headers=headers)
        # Which URLs a worker fetches no schema can say; and "busy" is an answer of its own.
        left_out = [positive_data_acceptance, *([not_a_server_error] if answer.status_code == 503 else [])]
        case.validate_response(answer, excluded_checks=left_out)

    check()
