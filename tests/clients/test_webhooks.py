"""`verify_webhook` accepts what a worker signs, and what the public library signs, and nothing else."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook
from unmask_client import UnmaskError, WebhookError, verify_webhook

from worker.background.webhooks import signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the scheme's own example
OTHER = "whsec_" + base64.b64encode(b"another secret, as long").decode()
EVENT = {"type": "image.flagged", "timestamp": "2026-01-01T00:00:00+00:00", "data": {"image": "é"}}
BODY = json.dumps(EVENT, ensure_ascii=False)


def headers_of(body: str = BODY, age_s: float = 0.0, secret: str = SECRET) -> dict[str, str]:
    """As a worker sends them."""
    return signed_headers(7, body, datetime.now(UTC) - timedelta(seconds=age_s), secret)


@pytest.mark.parametrize("body", [BODY, BODY.encode(), bytearray(BODY.encode())])
def test_what_a_worker_signed_is_the_event(body: str | bytes) -> None:
    assert verify_webhook(SECRET, headers_of(), body) == EVENT


def test_what_the_public_library_signed_is_the_event_and_the_other_way_round() -> None:
    now = datetime.now(UTC)
    signature = Webhook(SECRET).sign("msg_1", now, BODY)
    headers = {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(now.timestamp())),
        "WEBHOOK-SIGNATURE": f"v1,{base64.b64encode(b'x' * 32).decode()} v1a,abc {signature}",
    }
    assert verify_webhook(SECRET, headers, BODY) == EVENT
    lower = {name.lower(): value for name, value in headers.items()}
    assert Webhook(SECRET).verify(BODY, lower) == EVENT


def test_a_secret_is_good_without_its_prefix() -> None:
    assert verify_webhook(SECRET.removeprefix("whsec_"), headers_of(), BODY) == EVENT


@pytest.mark.parametrize("age_s", [-290, 290])
def test_a_clock_may_differ_by_the_tolerance(age_s: int) -> None:
    assert verify_webhook(SECRET, headers_of(age_s=age_s), BODY) == EVENT


#: How it is signed, what becomes of the headers and the body on the way, and why it is refused.
REFUSED: list[tuple[dict[str, Any], dict[str, str], str, str]] = [
    ({"secret": OTHER}, {}, BODY, "no signature of the webhook matches"),
    ({}, {}, BODY + " ", "no signature of the webhook matches"),
    ({}, {"webhook-id": "msg_8"}, BODY, "no signature of the webhook matches"),
    ({}, {"webhook-signature": "v1,é"}, BODY, "no signature of the webhook matches"),
    ({}, {"webhook-signature": "v1"}, BODY, "no signature of the webhook matches"),
    ({"age_s": 10_800}, {}, BODY, "is 108.. s old, and at most 300 s are accepted"),
    ({"age_s": -10_800}, {}, BODY, "is -10(8|7).. s old, and at most 300 s are accepted"),
    ({}, {"webhook-timestamp": "soon"}, BODY, "webhook-timestamp is not a number of seconds"),
    ({}, {"webhook-timestamp": "9" * 5000}, BODY, "webhook-timestamp is not a number of seconds"),
    ({}, {"webhook-timestamp": "١٢"}, BODY, "webhook-timestamp is not a number of seconds"),
    ({}, {"webhook-id": ""}, BODY, "has no header webhook-id"),
    ({}, {"webhook-signature": ""}, BODY, "has no header webhook-signature"),
    ({"body": "[]"}, {}, "[]", "is not a JSON object"),
    ({"body": "{"}, {}, "{", "is not JSON"),
]


@pytest.mark.parametrize(("signing", "changed", "body", "message"), REFUSED, ids=range(len(REFUSED)))
def test_anything_else_is_refused(signing: dict[str, Any], changed: dict[str, str], body: str, message: str) -> None:
    with pytest.raises(WebhookError, match=message) as caught:
        verify_webhook(SECRET, headers_of(**signing) | changed, body)
    assert isinstance(caught.value, UnmaskError)


def test_a_signature_of_another_version_is_none() -> None:
    headers = headers_of()
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", "v2,")
    with pytest.raises(WebhookError, match="no signature"):
        verify_webhook(SECRET, headers, BODY)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_é", "not base64!"])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="the webhook secret must be base64"):
        verify_webhook(secret, headers_of(), BODY)


def test_a_body_that_was_parsed_already_is_refused() -> None:
    with pytest.raises(TypeError, match="as it came"):
        verify_webhook(SECRET, headers_of(), EVENT)  # type: ignore[arg-type]  # the mistake
