"""Sends an application's photos to Unmask and reads their verdicts. The README shows each way in five lines."""

from unmask_client.errors import (
    ConflictError,
    HttpConflictError,
    HttpError,
    UnmaskError,
    UnreachableError,
    WebhookError,
)
from unmask_client.http_client import HttpClient
from unmask_client.record import enqueue, result
from unmask_client.webhooks import verify_webhook

__all__ = [
    "ConflictError",
    "HttpClient",
    "HttpConflictError",
    "HttpError",
    "UnmaskError",
    "UnreachableError",
    "WebhookError",
    "enqueue",
    "result",
    "verify_webhook",
]
