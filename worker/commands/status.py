"""``unmask status``: the state of the whole system, within three seconds, whatever is down or hangs."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
from sqlalchemy.orm import Session

from db.commands.output import emit_json, json_option
from db.errors import DatabaseError, DatabaseUnavailableError
from db.models import versions
from db.policy import pauses, thresholds
from db.quality.certificates import certificate_states
from db.review import case_queue
from db.settings import DatabaseSettings
from db.store import locks
from db.store.session import Database
from db.work import failures, images, on_demand, outbox, presence, queue_stats
from worker.core.bounded import Answer, ask_all, remaining_s
from worker.core.errors import BrokerError

#: The whole command takes at most three seconds; the rest is for its start and its end.
_WHOLE_S, _LEAST_S = 2.4, 1.5
#: Beyond these, in seconds, an upload waits too long for its score, and an image for being sent: as the alerts have it.
_OLD_S, _LAG_S = 300.0, 60.0


@click.command()
@json_option
def status(*, as_json: bool) -> None:
    """Show what waits, what was scored, what failed, and the active model.

    It answers within three seconds, and names what does not answer. Exits with 1 unless all is well.
    """
    from worker.broker import sender  # here, so that its import, which takes long, counts as the command's start

    questions = {"record": _record, "queue": lambda: _queue(sender.queued()), "health files": _refused}
    answers = ask_all(questions, remaining_s(_WHOLE_S, _LEAST_S))
    record = _value(answers["record"], DatabaseUnavailableError)
    queue = _value(answers["queue"], BrokerError)
    faults = [*_unanswered(answers), *_faults(record or {})]
    found = {"well": not faults, "faults": faults, **(record or {}), "queue": _shown_queue(answers["queue"], queue)}
    _show(found | {"refused_here": answers["health files"].value}, as_json=as_json)
    if faults:
        raise SystemExit(1)


def _show(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json(found)
        return
    for name, value in found.items():
        click.echo(f"{name.replace('_', ' '):<16} {_shown(value)}")


def _record() -> dict[str, Any]:
    database = Database.of(DatabaseSettings.load())
    database.check_schema()
    with database.reading() as session:
        active = versions.find_active(session)
        oldest = images.oldest_pending(session)
        leases = images.count_leases(session)
        alive = presence.alive_workers(session)
        found = {
            "images": images.count_images(session),
            "waiting": images.count_by_lane(session),
            "in_hand": sum(leases.values()),
            "workers": {owner: leases.get(owner, 0) for owner in alive},
            "held_by_silent": {owner: count for owner, count in leases.items() if owner not in alive},
            "failures": failures.count_by_reason(session),
            "retrying": failures.count_by_reason(session, "retrying"),
            "unusable": failures.count_by_reason(session, "unusable"),
            "requests": on_demand.count_requests(session, on_demand.RELAYED_KINDS),
            "hashes": on_demand.count_requests(session, on_demand.IDLE_KINDS),
            "sweeper": _sweeper(session),
            "oldest_pending_s": round((datetime.now(UTC) - oldest).total_seconds(), 1) if oldest else None,
            "oldest_upload_s": round(queue_stats.count_lanes(session)["upload"].oldest_s, 1),
            "paused": {what: f"by {row.author}: {row.reason}" for what, row in pauses.current_pauses(session).items()},
            "review": asdict(case_queue.count_backlog(session)),
            "model": active.name if active else None,
            "thresholds": {t.policy: t.value for t in thresholds.in_effect(session, active.id)} if active else {},
            "certificates": {state.policy: state.words for state in certificate_states(session)},
        }
    database.close()
    return found


def _sweeper(session: Session) -> dict[str, Any]:
    """The leading relay, when it last worked, and how long the oldest unsent image has been due."""
    leader = locks.holder(session, "sweeper")
    return {
        "leader": leader.owner if leader else None,
        "last_sweep_s": round(leader.silent_s, 1) if leader else None,
        "lag_s": round(outbox.lag_s(session), 1),
    }


def _queue(queued: Mapping[outbox.Lane, int]) -> dict[str, int]:
    return {lane.value: messages for lane, messages in queued.items()}


def _refused() -> dict[str, int]:
    """Messages that the workers of this machine have refused since they started, by reason."""
    from worker.core.settings import HealthSettings
    from worker.telemetry.health import statuses

    settings = HealthSettings.load()
    found = Counter[str]()
    for worker in statuses(settings.run_dir, settings.live_s):
        found.update(worker.refused)
    return dict(found)


def _value(answer: Answer, outage: type[Exception]) -> Any:
    """The value; None in an outage. Raises any other error: a wrong setting, or a schema that is not ours."""
    if answer.error is not None and not isinstance(answer.error, outage):
        raise answer.error
    return answer.value


def _shown_queue(answer: Answer, lanes: dict[str, int] | None) -> dict[str, Any]:
    if lanes is None:
        error = str(answer.error) if answer.error is not None else "the broker did not answer in time"
        return {"reachable": False, "messages": None, "lanes": None, "error": error}
    return {"reachable": True, "messages": sum(lanes.values()), "lanes": lanes}


def _unanswered(answers: Mapping[str, Answer]) -> Iterator[str]:
    """What could not be asked, and why."""
    for name, answer in answers.items():
        thing = {"record": "the record (database)", "queue": "the broker"}.get(name, f"the {name}")
        if not answer.came:
            yield f"{thing} did not answer in time"
        elif isinstance(answer.error, DatabaseError | BrokerError):
            yield f"{thing} cannot be used: {answer.error}"


def _faults(record: Mapping[str, Any]) -> Iterator[str]:
    """What is not well according to the record."""
    if not record:
        return
    if not record["workers"]:
        yield "no worker is alive"
    if record["model"] is None:
        yield "no model version is active"
    for what, why in record["paused"].items():
        yield f"{what} is paused {why}"
    if record["sweeper"]["lag_s"] > _LAG_S:
        yield f"an image has been due to be sent for {record['sweeper']['lag_s']:.0f} s (at most: {_LAG_S:.0f})"
    if record["oldest_upload_s"] > _OLD_S:
        yield f"an upload has waited for {record['oldest_upload_s']:.0f} s (at most: {_OLD_S:.0f})"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
