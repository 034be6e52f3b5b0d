"""``unmask status``: the state of the whole, also while the broker is down."""

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
from sqlalchemy.orm import Session

from db.models import versions
from db.policy import pauses, thresholds
from db.review import queue
from db.store import locks
from db.work import failures, images, outbox, requests
from db.cli import open_database
from db.output import emit_json, json_option
from worker.core.errors import BrokerError


@click.command()
@json_option
def status(*, as_json: bool) -> None:
    """What waits, what was scored, what failed, and by which model."""
    found = _record() | {"queue": _queue(), "refused_here": _refused()}
    if as_json:
        emit_json(found)
    else:
        for name, value in found.items():
            click.echo(f"{name.replace('_', ' '):<16} {_shown(value)}")


def _record() -> dict[str, Any]:
    with open_database().reading() as session:
        active = versions.find_active(session)
        oldest = images.oldest_pending(session)
        return {
            "images": images.counts(session),
            "in_hand": images.in_hand(session),
            "workers": images.in_hand_by(session),
            "failures": failures.by_reason(session),
            "retrying": failures.by_reason(session, "retrying"),
            "not_scorable": failures.by_reason(session, "not_scorable"),
            "requests": requests.counts(session, requests.SENT),
            "hashes": requests.counts(session, requests.SPARE),
            "sweeper": _sweeper(session),
            "oldest_pending_s": round((datetime.now(UTC) - oldest).total_seconds(), 1) if oldest else None,
            "paused": {what: f"by {row.author}: {row.reason}" for what, row in pauses.standing(session).items()},
            "review": asdict(queue.backlog(session)),
            "model": active.name if active else None,
            "thresholds": {t.policy: t.value for t in thresholds.latest(session, active.id)} if active else {},
        }


def _sweeper(session: Session) -> dict[str, Any]:
    """Who leads, when it last swept, and how late the latest is that should have been sent."""
    leader = locks.holder(session, "sweeper")
    return {
        "leader": leader.owner if leader else None,
        "last_sweep_s": round(leader.silent_s, 1) if leader else None,
        "lag_s": round(outbox.lag_s(session), 1),
    }


def _queue() -> dict[str, Any]:
    from worker.celery import app
    from worker.background.sweeper import waiting

    try:
        return {"reachable": True, "messages": waiting(app)}
    except BrokerError as error:
        return {"reachable": False, "messages": None, "error": str(error)}


def _refused() -> dict[str, int]:
    """Messages that the workers of this machine have refused since they began, by reason."""
    from worker.telemetry.health import statuses
    from worker.core.settings import HealthSettings

    settings = HealthSettings.load()
    found = Counter[str]()
    for worker in statuses(settings.run_dir, settings.live_s):
        found.update(worker.refused)
    return dict(found)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items()) or "none"
    return "none" if value is None else str(value)
