"""The service: workers take images from Redis, score them in batches, and record scores and flags in SQL."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import ``worker.app``, which ``celery -A worker`` reads, on demand, so that commands need no broker."""
    if name != "app":
        raise AttributeError(f"module 'worker' has no attribute {name!r}")
    from worker.broker.app import app

    return app
