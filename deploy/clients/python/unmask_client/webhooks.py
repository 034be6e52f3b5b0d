"""Verifies Unmask's webhooks: https://www.standardwebhooks.com, signatures of version v1."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

from unmask_client.errors import WebhookError

_PREFIX = "whsec_"
_VERSION = "v1"


def verify_webhook(
    secret: str, headers: Mapping[str, str], body: bytes | str, tolerance_s: float = 300
) -> dict[str, Any]:
    """Verify a request and return its event: ``{"type": ..., "timestamp": ..., "data": {...}}``.

    Unmask may send an event more than once, always with the same header ``webhook-id``.

    Args:
        secret: the value of ``UNMASK_WEBHOOK_SECRET``.
        headers: the request's headers, by name in any case.
        body: the request's body, exactly as it was received.
        tolerance_s: how many seconds old (or ahead) the timestamp may be.

    Raises:
        WebhookError: the request is not signed with this secret, was changed, or is too old. Do not act on it.
        ValueError: the secret is empty or not base64.
        TypeError: the body was parsed already.
    """
    key, raw = _key(secret), _bytes(body)
    named = {name.lower(): value for name, value in headers.items()}
    message_id, sent_at, signatures = (_header(named, f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    _check_time(sent_at, tolerance_s)
    _check_signature(key, f"{message_id}.{sent_at}.".encode() + raw, signatures)
    return _event(raw)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError("the webhook secret must be base64, with or without whsec_ before it, and not empty")
    return key


def _bytes(body: object) -> bytes:
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise TypeError("body must be that of the request as it came, and not what a framework parsed of it")


def _header(named: Mapping[str, str], name: str) -> str:
    value = named.get(name)
    if not value:
        raise WebhookError(f"the request has no header {name}")
    return value


def _check_time(sent_at: str, tolerance_s: float) -> None:
    if not (sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= 12):  # noqa: PLR2004 - 30,000 years
        raise WebhookError("the header webhook-timestamp is not a number of seconds")
    age_s = time.time() - int(sent_at)
    if abs(age_s) > tolerance_s:
        raise WebhookError(f"the webhook is {age_s:.0f} s old, and at most {tolerance_s:.0f} s are accepted")


def _check_signature(key: bytes, signed: bytes, signatures: str) -> None:
    """Raise `WebhookError` unless one signature matches: there are two while a secret is replaced."""
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    found = False
    for each in signatures.split(" "):
        version, _, signature = each.partition(",")
        found |= version == _VERSION and hmac.compare_digest(expected, signature.encode())
    if not found:
        raise WebhookError("no signature of the webhook matches the secret")


def _event(raw: bytes) -> dict[str, Any]:
    try:
        event = json.loads(raw)
    except ValueError as error:
        raise WebhookError(f"the body of the webhook is not JSON: {error}") from error
    if not isinstance(event, dict):
        raise WebhookError("the body of the webhook is not a JSON object")
    return event
