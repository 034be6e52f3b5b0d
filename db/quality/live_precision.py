"""Live precision, false positive rate and miss rate, from reviewers' blind verdicts on sampled photos."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from db.quality.sampling import week_of
from db.review.effective_reviews import is_standing
from db.schema import Draw, ModelVersion, Sample, Verdict
from db.schema.clock import moment
from db.stats.intervals import Estimate
from db.stats.stratified import Stratum, fakes_in, reals_in, share


@dataclass(frozen=True, slots=True)
class LiveRates:
    """The rates of a model and policy, for one week or (``week`` None) all of them; a rate is None until it is known.

    ``photos`` and ``flagged`` count the photos that were sampled from; ``judged`` of the ``drawn`` have a verdict.
    """

    model: str
    policy: str
    week: datetime | None
    photos: int
    flagged: int
    drawn: int
    judged: int
    precision: Estimate | None
    fpr: Estimate | None
    miss_rate: Estimate | None


@dataclass(frozen=True, slots=True)
class _Cell:
    """A draw of one stratum, and the verdicts on it."""

    draw: Draw
    model: str
    stratum: Stratum

    @property
    def known(self) -> bool:
        """Whether anything is known about its photos."""
        return self.stratum.judged > 0 or self.stratum.population == 0


def live_rates(session: Session, policy: str | None = None, weeks: int = 12) -> list[LiveRates]:
    """Rates for each model, policy and week, the latest first, and for all these weeks together.

    A window in which some stratum has no verdict yet is left out, since that stratum could hold anything.
    """
    cells = _cells(session, policy, weeks)
    by_week: dict[tuple[str, str, datetime], list[_Cell]] = defaultdict(list)
    for cell in cells:
        by_week[cell.model, cell.draw.policy, week_of(cell.draw.since)].append(cell)
    lines = []
    for model, name in sorted({(cell.model, cell.draw.policy) for cell in cells}):
        mine = {key: found for key, found in by_week.items() if key[:2] == (model, name)}
        lines += [_line(key[0], key[1], key[2], mine[key]) for key in sorted(mine, reverse=True)]
        lines.append(_line(model, name, None, [cell for found in mine.values() for cell in found]))
    return lines


def _cells(session: Session, policy: str | None, weeks: int) -> list[_Cell]:
    # The first sure verdict alone: those on golden items came later, and measure reviewers.
    said = aliased(Verdict)
    given = select(func.min(said.id)).where(said.sample_id == Sample.id, said.verdict != "unsure", is_standing(said))
    sure = (Verdict.sample_id == Sample.id) & (Verdict.id == given.scalar_subquery())
    fakes = func.count(Verdict.id).filter(Verdict.verdict == "fake")
    statement = (
        select(Draw, ModelVersion.name, func.count(Verdict.id), fakes)
        .join(ModelVersion, ModelVersion.id == Draw.version_id)
        .outerjoin(Sample, Sample.draw_id == Draw.id)
        .outerjoin(Verdict, sure)
        .where(Draw.since >= _first_week(session, weeks))
        .group_by(Draw.id, ModelVersion.name)
        .order_by(Draw.id)
    )
    if policy is not None:
        statement = statement.where(Draw.policy == policy)
    return [
        _Cell(draw, model, Stratum(draw.population, judged, found))
        for draw, model, judged, found in session.execute(statement)
    ]


def _first_week(session: Session, weeks: int) -> datetime:
    return week_of(session.execute(select(moment())).scalar_one()) - timedelta(weeks=weeks - 1)


def _line(model: str, policy: str, week: datetime | None, cells: Sequence[_Cell]) -> LiveRates:
    whole = _judged_windows(cells)
    flagged = [cell.stratum for cell in whole if cell.draw.stratum == "flagged"]
    others = [cell.stratum for cell in whole if cell.draw.stratum != "flagged"]
    count = sum(stratum.population for stratum in flagged)
    found, missed = fakes_in(flagged), fakes_in(others)
    return LiveRates(
        model=model,
        policy=policy,
        week=week,
        photos=count + sum(stratum.population for stratum in others),
        flagged=count,
        drawn=sum(cell.draw.drawn for cell in cells),
        judged=sum(cell.stratum.judged for cell in cells),
        precision=found.times(1 / count) if count else None,
        fpr=share(reals_in(flagged), reals_in(others)),
        miss_rate=share(missed, found),
    )


def _judged_windows(cells: Iterable[_Cell]) -> list[_Cell]:
    windows: dict[tuple[datetime, datetime], list[_Cell]] = defaultdict(list)
    for cell in cells:
        windows[cell.draw.since, cell.draw.until].append(cell)
    return [cell for found in windows.values() if all(cell.known for cell in found) for cell in found]
