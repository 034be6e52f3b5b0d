"""For leads and auditors: the team's work, the model's quality, and drift. The browser loads each part separately."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from db.console.views import plots
from db.console.web.context import PageContext
from db.errors import NotFoundError
from db.models import versions
from db.policy import certificate_words, thresholds
from db.policy.threshold_choice import rate_bound
from db.quality.certificates import certificate_states
from db.quality.drift import DailyDrift, DayRange, daily_drift, first_week
from db.quality.live_precision import LiveRates, live_rates
from db.review import case_queue, workload
from db.review.workload import DailyDecisions
from db.schema import ModelVersion
from db.schema.clock import moment

#: Days of decisions, of decisions by reviewer, and of drift; weeks of live precision.
DECIDED_DAYS, WORK_DAYS, DRIFT_DAYS, WEEKS = 28, 7, 14, 12


def show_overview(page: PageContext) -> Response:
    """The page with thresholds and model versions, which are quick to read; it loads the other parts."""
    with page.database.reading() as session:
        known = versions.list_versions(session)
        active = next((version for version in known if version.state == "active"), None)
        current = thresholds.in_effect(session, active.id) if active is not None else []
        promises = {row.id: certificate_words.promise(rate_bound(row), row.target_fpr) for row in current}
        states = certificate_states(session)
    return page.render(
        "overview.html", versions=known, active=active, thresholds=current, promises=promises, certificates=states
    )


def show_overview_part(page: PageContext) -> Response:
    """One part of the overview, computed now."""
    name = str(page.request.path_params["part"])
    if name not in _PARTS:
        raise NotFoundError(f"the overview has no part {name!r}")
    with page.database.reading() as session:
        return page.render(f"overview_{name}.html", **_PARTS[name](session))


def _work(session: Session) -> dict[str, Any]:
    days = _since_first_decision(workload.decisions_by_day(session, DECIDED_DAYS))
    bars, most = plots.bar_plot([(f"{day.day:%d %b}", day.decided) for day in days])
    return {
        "backlog": case_queue.count_backlog(session),
        "ages": workload.open_cases_by_age(session),
        "days": days,
        "total": sum(day.total for day in days),
        "window": DECIDED_DAYS,
        "bars": bars,
        "most": most,
        "reviewers": workload.decisions_by_reviewer(session, WORK_DAYS),
        "work_days": WORK_DAYS,
    }


def _since_first_decision(days: list[DailyDecisions]) -> list[DailyDecisions]:
    """The days from the first decision on, and at least the last week: a new team's plot is not mostly empty."""
    first = next((number for number, day in enumerate(days) if day.total), len(days))
    return days[min(first, len(days) - WORK_DAYS) :]


def _live(session: Session) -> dict[str, Any]:
    lines = live_rates(session, weeks=WEEKS)
    series = dict.fromkeys((line.model, line.policy) for line in lines)
    return {"series": [_one_series(model, policy, lines) for model, policy in series]}


def _one_series(model: str, policy: str, lines: list[LiveRates]) -> dict[str, Any]:
    own = [line for line in lines if (line.model, line.policy) == (model, policy)]
    weeks = [line for line in reversed(own) if line.week is not None]
    precision = [(f"{line.week:%d %b}", line.precision) for line in weeks]
    fpr = [(f"{line.week:%d %b}", line.fpr) for line in weeks]
    top = plots.highest_interval(fpr)
    return {
        "model": model,
        "policy": policy,
        "whole": next(line for line in own if line.week is None),
        "weeks": weeks,
        "precision": plots.point_plot(precision, 1.0),
        "fpr": plots.point_plot(fpr, top),
        "top": top,
    }


def _drift(session: Session) -> dict[str, Any]:
    version = versions.find_active(session)
    reference = first_week(session, version) if version is not None else None
    lines = _drift_lines(session, version, reference) if version is not None and reference is not None else []
    return {"version": version, "reference": reference, "lines": lines}


def _drift_lines(session: Session, version: ModelVersion, reference: DayRange) -> list[DailyDrift]:
    today = session.execute(select(moment())).scalar_one().date()
    return daily_drift(session, version, reference, DayRange(today - timedelta(days=DRIFT_DAYS - 1), today))


_PARTS: dict[str, Callable[[Session], dict[str, Any]]] = {"work": _work, "live": _live, "drift": _drift}
