"""One reviewer's work by week: private figures, for that person and for leads."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.quality.sampling import week_of
from db.review.effective_reviews import is_standing
from db.schema import AuditEntry, Case, GoldenItem, Review, Verdict
from db.schema.clock import moment, utc_day
from db.stats.agreement import cohen_kappa, fleiss_kappa
from db.stats.intervals import Estimate, wilson

#: A longer look is a break, and counts in no median.
_LONGEST_LOOK_S = 1800.0
#: Agreement is measured on the latest verdicts and decisions, so that the page stays quick.
_LATEST = 10_000


@dataclass(frozen=True, slots=True)
class ReviewerWeek:
    """A week of one reviewer (``week`` None: all of them together).

    ``golden``: right among sure verdicts on golden items. ``stands``: of the sure decisions about cases that others
    decided too, the share with the same outcome. ``seconds``: the median from opening a case to deciding it.
    """

    week: datetime | None
    confirmed: int
    dismissed: int
    unsure: int
    undone: int
    golden: Estimate | None
    missed_fakes: int
    accused_reals: int
    stands: Estimate | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far reviewers agree beyond chance: on photos judged blind, and on cases, where the second sees the first."""

    photos: Estimate | None
    photos_judged: int
    cases: Estimate | None
    cases_judged: int
    by_pair: list[tuple[str, str, int, Estimate | None]]


@dataclass(frozen=True, slots=True)
class _Event:
    """One kind of fact about one reviewer's work, and how often it happened on a day."""

    day: date
    kind: str
    good: bool = True
    count: int = 1


def reviewer_weeks(session: Session, reviewer: str, weeks: int = 8) -> list[ReviewerWeek]:
    """The weeks of a reviewer in which they worked, the latest first, and then all of them together."""
    first = week_of(session.execute(select(moment())).scalar_one()) - timedelta(weeks=weeks - 1)
    events = [
        *_decisions(session, reviewer, first),
        *_golden(session, reviewer, first),
        *_outcomes(session, reviewer, first),
    ]
    by_week: dict[datetime, list[_Event]] = defaultdict(list)
    for event in events:
        by_week[week_of(datetime.combine(event.day, time(), UTC))].append(event)
    looks = _looks(session, reviewer, first)
    weeks_of_work = [_week(week, by_week[week], looks[week]) for week in sorted(by_week, reverse=True)]
    return [*weeks_of_work, _week(None, events, [seconds for each in looks.values() for seconds in each])]


def agreement(session: Session) -> Agreement:
    """Agreement on what two or more people judged, among the latest verdicts and decisions."""
    verdicts = (
        select(Verdict.sample_id, Verdict.reviewer, Verdict.verdict)
        .where(is_standing())
        .order_by(Verdict.id.desc())
        .limit(_LATEST)
    )
    photos = _by_item(session.execute(verdicts).all()[::-1])
    latest = select(Review.id, Review.case_id, Review.reviewer, Review.decision, Review.undoes)
    rows = session.execute(latest.order_by(Review.id.desc()).limit(_LATEST)).all()[::-1]
    undone = {row.undoes for row in rows}
    decided = [row[1:4] for row in rows if row.decision != "undone" and row.id not in undone]
    cases = _by_item(decided)
    return Agreement(
        fleiss_kappa([list(item.values()) for item in photos]),
        len(photos),
        fleiss_kappa([list(item.values()) for item in cases]),
        len(cases),
        _pairs(photos),
    )


def disputed_samples(session: Session) -> list[tuple[int, dict[str, str]]]:
    """Samples that one reviewer called AI-generated and another real: their ids, and who said what."""
    latest = (
        select(Verdict.sample_id, Verdict.reviewer, Verdict.verdict)
        .where(is_standing())
        .order_by(Verdict.id.desc())
        .limit(_LATEST)
    )
    rows = session.execute(latest).all()[::-1]
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for sample_id, reviewer, verdict in rows:
        found[sample_id][reviewer] = verdict
    return [(sample_id, said) for sample_id, said in sorted(found.items()) if {"fake", "real"} <= set(said.values())]


def _by_item(rows: Sequence[Sequence[object]]) -> list[dict[str, str]]:
    """``{person: verdict}`` of each item that several people judged; a person's last word counts."""
    found: dict[object, dict[str, str]] = defaultdict(dict)
    for item, person, verdict in rows:
        found[item][str(person)] = str(verdict)
    return [said for said in found.values() if len(said) > 1]


def _pairs(items: Sequence[dict[str, str]]) -> list[tuple[str, str, int, Estimate | None]]:
    """Cohen's kappa of each two people who judged some of the same items."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for said in items:
        names = sorted(said)
        for place, one in enumerate(names):
            for other in names[place + 1 :]:
                found[one, other].append((said[one], said[other]))
    return [(one, other, len(pairs), cohen_kappa(pairs)) for (one, other), pairs in sorted(found.items())]


def _decisions(session: Session, reviewer: str, first: datetime) -> list[_Event]:
    day = utc_day(Review.created_at)
    mine = select(day, Review.decision, func.count()).where(Review.reviewer == reviewer, Review.created_at >= first)
    rows = session.execute(mine.group_by(day, Review.decision))
    return [_Event(at, decision, count=count) for at, decision, count in rows]


def _golden(session: Session, reviewer: str, first: datetime) -> list[_Event]:
    """Verdicts on golden items, given since they are golden."""
    statement = select(Verdict.created_at, Verdict.verdict, GoldenItem.verdict.label("true"))
    statement = statement.join(GoldenItem, GoldenItem.sample_id == Verdict.sample_id)
    statement = statement.where(Verdict.created_at >= GoldenItem.created_at, Verdict.verdict != "unsure", is_standing())
    rows = session.execute(statement.where(Verdict.reviewer == reviewer, Verdict.created_at >= first))
    return [_Event(at.date(), f"golden {true}", good=said == true) for at, said, true in rows]


def _outcomes(session: Session, reviewer: str, first: datetime) -> list[_Event]:
    """Decisions about cases that somebody else decided afterwards, upon an appeal or as the second person."""
    mine, theirs = Review, Review.__table__.alias("theirs")
    other = (theirs.c.case_id == mine.case_id) & (theirs.c.id > mine.id) & (theirs.c.reviewer != reviewer)
    day = utc_day(mine.created_at)
    statement = (
        select(day, mine.decision, Case.state, func.count())
        .join(Case, Case.id == mine.case_id)
        .where(mine.reviewer == reviewer, mine.created_at >= first, mine.decision.in_(("confirmed", "dismissed")))
        .where(Case.state.in_(("confirmed", "dismissed")), select(theirs.c.id).where(other).exists())
        .group_by(day, mine.decision, Case.state)
    )
    rows = session.execute(statement)
    return [_Event(at, "outcome", good=said == state, count=count) for at, said, state, count in rows]


def _looks(session: Session, reviewer: str, first: datetime) -> dict[datetime, list[float]]:
    """How long the reviewer looked, in seconds by week: from last opening a case to their decision about it."""
    statement = select(AuditEntry.created_at, AuditEntry.what, AuditEntry.case_id)
    statement = statement.where(AuditEntry.who == reviewer, AuditEntry.created_at >= first)
    rows = session.execute(statement.where(AuditEntry.what.in_(("viewed", "decided"))).order_by(AuditEntry.id))
    opened: dict[int | None, datetime] = {}
    found: dict[datetime, list[float]] = defaultdict(list)
    for at, what, case_id in rows:
        if what == "viewed":
            opened[case_id] = at
        elif case_id in opened:
            seconds = (at - opened.pop(case_id)).total_seconds()
            if seconds <= _LONGEST_LOOK_S:
                found[week_of(at)].append(seconds)
    return found


def _week(week: datetime | None, events: Sequence[_Event], seconds: Sequence[float]) -> ReviewerWeek:
    counts: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for event in events:
        counts[event.kind] += event.count
        wrong[event.kind] += 0 if event.good else event.count
    golden = counts["golden fake"] + counts["golden real"]
    missed, accused = wrong["golden fake"], wrong["golden real"]
    return ReviewerWeek(
        week,
        counts["confirmed"],
        counts["dismissed"],
        counts["unsure"],
        counts["undone"],
        wilson(golden - missed - accused, golden) if golden else None,
        missed,
        accused,
        wilson(counts["outcome"] - wrong["outcome"], counts["outcome"]) if counts["outcome"] else None,
        median(seconds) if seconds else None,
    )
