"""How well it works in production: precision, false positive and miss rate, from what people said of sampled photos."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.stats.combined import Stratum, fakes_in, reals_in, share
from db.quality.draws import week_of
from db.stats.intervals import Estimate
from db.schema import Draw, ModelVersion, Sample, Verdict


@dataclass(frozen=True, slots=True)
class LiveLine:
    """What is known of a model and policy, of one week or (null) of all of them; None: not yet.

    ``photos`` and ``flagged`` are those that chance drew from; ``judged`` of the ``drawn`` have a verdict.
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
    """A draw of one stratum, and what was said of it."""

    draw: Draw
    model: str
    stratum: Stratum

    @property
    def known(self) -> bool:
        """Whether anything is known of its photos."""
        return self.stratum.judged > 0 or self.stratum.population == 0


def live(session: Session, policy: str | None = None, weeks: int = 12) -> list[LiveLine]:
    """A line for each model, policy and week, the latest first, and one for all these weeks of each.

    A window of which a stratum has no verdict yet counts for nothing, since it could be anything.
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
    sure = (Verdict.sample_id == Sample.id) & (Verdict.verdict != "unsure")
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


def _line(model: str, policy: str, week: datetime | None, cells: Sequence[_Cell]) -> LiveLine:
    whole = _judged_windows(cells)
    flagged = [cell.stratum for cell in whole if cell.draw.stratum == "flagged"]
    others = [cell.stratum for cell in whole if cell.draw.stratum != "flagged"]
    count = sum(stratum.population for stratum in flagged)
    found, missed = fakes_in(flagged), fakes_in(others)
    return LiveLine(
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
