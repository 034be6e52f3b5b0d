"""For leads and auditors: how the work goes, and how well the model does. Parts come once the page is there."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from db.models import versions
from db.policy import thresholds
from db.review import queue, workload
from db.schema.clock import moment
from db.console import plots
from db.console.visit import Visit
from db.quality.drift import DayLine, Days, drift, first_week
from db.errors import NotFoundError
from db.quality.live import LiveLine, live
from db.schema import ModelVersion

#: Days of decisions, of one person's work, and of drift; weeks of live figures.
DECIDED_DAYS, WORK_DAYS, DRIFT_DAYS, WEEKS = 28, 7, 14, 12


def show(visit: Visit) -> Response:
    """The frame, and what costs nothing to know."""
    with visit.database.reading() as session:
        known = versions.list_versions(session)
        active = next((version for version in known if version.state == "active"), None)
        standing = thresholds.latest(session, active.id) if active is not None else []
    return visit.page("overview.html", versions=known, active=active, thresholds=standing, parts=_PARTS)


def part(visit: Visit) -> Response:
    """One part, counted now."""
    name = str(visit.request.path_params["part"])
    if name not in _PARTS:
        raise NotFoundError(f"the overview has no part {name!r}")
    with visit.database.reading() as session:
        return visit.page(f"overview_{name}.html", **_PARTS[name](session))


def _work(session: Session) -> dict[str, Any]:
    decided = workload.days(session, DECIDED_DAYS)
    drawn, most = plots.bars([(f"{day.day:%d %b}", day.decided) for day in decided])
    return {
        "backlog": queue.backlog(session),
        "ages": workload.ages(session),
        "days": decided,
        "bars": drawn,
        "most": most,
        "hands": workload.hands(session, WORK_DAYS),
        "work_days": WORK_DAYS,
    }


def _live(session: Session) -> dict[str, Any]:
    lines = live(session, weeks=WEEKS)
    series = dict.fromkeys((line.model, line.policy) for line in lines)
    return {"series": [_one_series(model, policy, lines) for model, policy in series]}


def _one_series(model: str, policy: str, lines: list[LiveLine]) -> dict[str, Any]:
    mine = [line for line in lines if (line.model, line.policy) == (model, policy)]
    weeks = [line for line in reversed(mine) if line.week is not None]
    precision = [(f"{line.week:%d %b}", line.precision) for line in weeks]
    fpr = [(f"{line.week:%d %b}", line.fpr) for line in weeks]
    top = plots.highest(fpr)
    return {
        "model": model,
        "policy": policy,
        "whole": next(line for line in mine if line.week is None),
        "weeks": weeks,
        "precision": plots.points(precision, 1.0),
        "fpr": plots.points(fpr, top),
        "top": top,
    }


def _drift(session: Session) -> dict[str, Any]:
    version = versions.find_active(session)
    reference = first_week(session, version) if version is not None else None
    lines = _drifted(session, version, reference) if version is not None and reference is not None else []
    return {"version": version, "reference": reference, "lines": lines}


def _drifted(session: Session, version: ModelVersion, reference: Days) -> list[DayLine]:
    today = session.execute(select(moment())).scalar_one().date()
    return drift(session, version, reference, Days(today - timedelta(days=DRIFT_DAYS - 1), today))


_PARTS: dict[str, Callable[[Session], dict[str, Any]]] = {"work": _work, "live": _live, "drift": _drift}
