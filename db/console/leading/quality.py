"""Quality: golden items, agreement between reviewers, what they disagree about; and each reviewer's private figures."""

from starlette.responses import Response

from db.access import audit, people
from db.console.views import plots
from db.console.views.plots import PlotPoint
from db.console.web.context import PageContext
from db.errors import DbError
from db.models import versions
from db.policy import thresholds
from db.policy.policies import require_policy
from db.quality import golden, reviewers
from db.quality.live_precision import live_rates
from db.quality.reviewers import ReviewerWeek
from db.queue import case_filter, targets
from db.queue.case_filter import CaseFilter

_WEEKS = 8


def show_quality(page: PageContext) -> Response:
    """For leads and auditors: what measures the team as a whole."""
    with page.database.reading() as session:
        return page.render(
            "quality.html",
            share=golden.current_share(session),
            largest=golden.MAX_SHARE,
            items=golden.list_golden(session),
            agreement=reviewers.agreement(session),
            disputed=reviewers.disputed_samples(session),
            people=[person for person in people.list_people(session) if person.role != "auditor"],
        )


def submit_share(page: PageContext) -> Response:
    """Set the share of golden items."""
    try:
        share = float(page.form.get("percent", "").replace(",", ".")) / 100
    except ValueError as error:
        raise DbError("the share is a number of per cent, such as 5") from error
    with page.database.writing() as session:
        golden.set_share(session, share, page.user.name)
        audit.log(session, page.user.name, "golden_share", detail=f"{share:.1%}")
    return page.redirect("/quality")


def submit_golden(page: PageContext) -> Response:
    """Mark a judged sample as golden."""
    with page.database.writing() as session:
        sample_id, verdict = page.form_number("sample"), page.form.get("verdict", "")
        golden.add_golden(session, sample_id, verdict, page.user.name)
        audit.log(session, page.user.name, "golden_added", detail=f"sample {sample_id}")
    return page.redirect("/quality")


def show_own_figures(page: PageContext) -> Response:
    """One's own figures, which nobody but leads sees besides."""
    return _figures(page, page.user.name)


def show_reviewer(page: PageContext) -> Response:
    """A reviewer's figures, for leads; the log says who looked."""
    name = str(page.request.path_params["name"])
    with page.database.writing() as session:
        name = people.get_by_name(session, name).name
        audit.log(session, page.user.name, "read_figures", detail=name)
    return _figures(page, name)


def show_policy(page: PageContext) -> Response:
    """One policy: what waits, its target time, its threshold, and how often it is right."""
    name = str(page.request.path_params["name"])
    with page.database.reading() as session:
        policy = require_policy(session, name)
        active = versions.find_active(session)
        due = targets.count_due(session).get(policy)
        return page.render(
            "policy.html",
            policy=policy,
            target_s=targets.targets(session).get(policy),
            due=due,
            open=case_filter.count_cases(session, CaseFilter(policy=policy)),
            appealed=case_filter.count_cases(session, CaseFilter(policy=policy, appealed=True)),
            confirmed=case_filter.count_cases(session, CaseFilter("confirmed", policy)),
            dismissed=case_filter.count_cases(session, CaseFilter("dismissed", policy)),
            history=thresholds.list_thresholds(session, active.id if active is not None else None, policy, 20),
            rates=live_rates(session, policy),
        )


def _figures(page: PageContext, name: str) -> Response:
    with page.database.reading() as session:
        weeks = reviewers.reviewer_weeks(session, name, _WEEKS)
    return page.render("figures.html", name=name, weeks=weeks, points=_points(weeks), own=name == page.user.name)


def _points(weeks: list[ReviewerWeek]) -> list[PlotPoint]:
    """Golden items judged right, by week, with intervals: they say how little a few items tell."""
    rows = [(f"{week.week:%d %b}", week.golden) for week in reversed(weeks) if week.week is not None]
    return plots.point_plot(rows, 1.0)
