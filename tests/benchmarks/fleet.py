"""Simulates fleets of workers over a day: the time to a score, and what a million images cost.

    python -m tests.benchmarks.fleet                                # the table
    python -m tests.benchmarks.fleet --plot deploy/fleet.png        # and the picture
    python -m tests.benchmarks.fleet --hour cpu=0.09 --hour gpu=3   # with your prices of a worker's hour
    python -m tests.benchmarks.fleet --check                        # beside a real worker, on this machine

It is a simulation of our own, in steps of a second, and no measurement. Images of one second are one cohort. Uploads
that are younger than a minute go first, then the backlog, as in `db.work.outbox`; in each lane the oldest first. A
worker is a rate, a time to start and the images that it holds: when it is lost, these wait until their leases end. KEDA
counts what `deploy/k8s/base/scaling.yaml` counts, and changes the number of workers by the rules there.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import ceil
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from db.work.outbox import FRESH_S

DAY_S = 86_400
#: The day's curve: the busiest second has this many times the mean, the quietest as much less.
PEAK, PEAK_AT_S = 1.6, 20 * 3600
#: A fixed fleet can do this many times the peak.
SPARE = 1.2
#: How long a lost worker's images wait for another: the default of UNMASK_LEASE_S.
LEASE_S = 300
#: The rules of scaling.yaml: seconds between two looks, between two steps up, between two steps down, and how long a
#: worker that is not needed stays.
POLL_S, UP_S, DOWN_S, STAY_S = 15, 30, 60, 600
#: The share of the images of `TARGET_S` that one worker may have waiting for it.
TARGET_S = 30

Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of worker: what it scores, how long one image takes on an idle one, its start, and the images it holds."""

    name: str
    images_per_s: float
    image_s: float
    start_s: int
    held: int
    hour: float


#: Measured on two cores with OpenVINO, and with an int8 network; a GPU's rate is assumed (deploy/README.md, Capacity).
KINDS = (
    Kind("cpu", images_per_s=28.8, image_s=0.16, start_s=60, held=48, hour=0.09),
    Kind("int8", images_per_s=50.0, image_s=0.14, start_s=60, held=48, hour=0.09),
    Kind("gpu", images_per_s=1_500, image_s=0.15, start_s=90, held=1_024, hour=3.0),
)


@dataclass(frozen=True, slots=True)
class Incident:
    """What happens on the day: from ``at_s`` on no worker scores for ``outage_s``, or a share of them is lost."""

    name: str
    at_s: float = PEAK_AT_S
    lost: float = 0.0
    outage_s: float = 0
    #: One worker after the other is replaced.
    deploy: bool = False
    days: int = 1


INCIDENTS = (
    Incident("ordinary day"),
    Incident("a tenth of the workers lost at the peak", lost=0.1),
    Incident("deploy at the peak", deploy=True),
    Incident("a day's outage", at_s=0, outage_s=DAY_S, days=6),
)


@dataclass(slots=True)
class Lanes:
    """Images that wait, by cohort: [arrived, images]. ``waiting`` is their number, kept as they come and go."""

    waiting: float = 0.0
    fresh: deque[list[float]] = field(default_factory=deque)
    backlog: deque[list[float]] = field(default_factory=deque)
    #: Cohorts that got scores: when they arrived, how long they waited, how many images they were.
    scored: list[tuple[float, float, float]] = field(default_factory=list)

    def add(self, arrived: float, images: float) -> None:
        """Images that arrive now."""
        if images:
            self.fresh.append([arrived, images])
            self.waiting += images

    def age(self, now: float) -> None:
        """Uploads that nobody scored for a minute are backlog."""
        while self.fresh and now - self.fresh[0][0] > FRESH_S:
            self.backlog.append(self.fresh.popleft())

    def serve(self, now: float, images: float) -> None:
        """Score so many: the fresh first, the oldest of each lane first."""
        for lane in (self.fresh, self.backlog):
            while lane and images > 0:
                cohort = lane[0]
                taken = min(cohort[1], images)
                self.scored.append((cohort[0], now - cohort[0], taken))
                images, self.waiting = images - taken, self.waiting - taken
                cohort[1] -= taken
                if cohort[1] <= 0:
                    lane.popleft()


@dataclass(slots=True)
class Crew:
    """The workers that are ready, and the moments at which others will be."""

    ready: int
    starting: list[float] = field(default_factory=list)

    @property
    def all(self) -> int:
        """Those that cost money."""
        return self.ready + len(self.starting)

    def start(self, count: int, at: float) -> None:
        """Start so many, which will be ready then."""
        self.starting += [at] * count

    def step(self, now: float) -> None:
        """Those whose start is over are ready."""
        done = sum(at <= now for at in self.starting)
        if done:
            self.ready, self.starting = self.ready + done, [at for at in self.starting if at > now]

    def stop(self, count: int) -> None:
        """Stop so many, those that still start first."""
        early = min(count, len(self.starting))
        del self.starting[len(self.starting) - early :]
        self.ready = max(0, self.ready - (count - early))


class Keda:
    """Sets the number of workers by the images that wait or are leased, as scaling.yaml says."""

    def __init__(self, kind: Kind, least: int, most: int) -> None:
        self._kind, self._least, self._most = kind, least, most
        self._wanted: deque[tuple[float, int]] = deque()
        self._up_at = self._down_at = 0.0

    def step(self, now: float, images: float, crew: Crew) -> None:
        """Look at the work every 15 s."""
        if now % POLL_S:
            return
        per_worker = TARGET_S * self._kind.images_per_s
        wanted = min(self._most, max(self._least, ceil(images / per_worker)))
        self._wanted.append((now, wanted))
        while self._wanted[0][0] < now - STAY_S:
            self._wanted.popleft()
        if wanted > crew.all and now >= self._up_at:
            crew.start(min(wanted - crew.all, max(crew.all, 2)), now + self._kind.start_s)
            self._up_at = now + UP_S
        highest = max(count for _, count in self._wanted)
        if highest < crew.all and now >= self._down_at:
            crew.stop(1)
            self._down_at = now + DOWN_S


@dataclass(frozen=True, slots=True)
class Fleet:
    """Workers of one kind for a mean of so many images a second: a fixed number of them, or as many as KEDA wants."""

    kind: Kind
    per_s: float
    scaled: bool = False

    @property
    def fixed(self) -> int:
        """Workers for the peak, and some more."""
        return ceil(SPARE * PEAK * self.per_s / self.kind.images_per_s)

    def keda(self) -> Keda | None:
        """What scales it."""
        return Keda(self.kind, 1, 2 * self.fixed) if self.scaled else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: scored cohorts (arrived, waited, images), and by minute the workers that were ready."""

    scored: Series
    ready: Series
    worker_hours: float
    left: float

    def waited(self, share: float, since: float = 0.0) -> float:
        """The seconds within which this share of the images that arrived since then had a score."""
        rows = self.scored[self.scored[:, 0] >= since]
        rows = rows[np.argsort(rows[:, 1])]
        total = np.cumsum(rows[:, 2])
        return float(rows[np.searchsorted(total, share * total[-1]), 1])

    def longest(self, since: float = 0.0) -> float:
        """The longest wait of an image that arrived since then."""
        return float(self.scored[self.scored[:, 0] >= since, 1].max())

    @property
    def images(self) -> float:
        """The images that have a score."""
        return float(self.scored[:, 2].sum())

    @property
    def caught_up_s(self) -> float:
        """When the last image that had waited for more than a minute got its score."""
        late = self.scored[self.scored[:, 1] > FRESH_S]
        return float((late[:, 0] + late[:, 1]).max()) if len(late) else 0.0


def day_curve(per_s: float, days: int = 1, seed: int = 0) -> Series:
    """Images that arrive in each second."""
    seconds = np.arange(days * DAY_S)
    mean = per_s * (1 + (PEAK - 1) * np.cos(2 * np.pi * (seconds - PEAK_AT_S) / DAY_S))
    return np.random.default_rng(seed).poisson(mean).astype(np.float64)


def simulate(
    fleet: Fleet, arrivals: Series, incident: Incident, step_s: float = 1.0, crew: Crew | None = None
) -> Outcome:
    """Run the fleet on images that arrive in each step."""
    kind, keda = fleet.kind, fleet.keda()
    crew = crew or Crew(ceil(arrivals[0] / kind.images_per_s) + 1 if keda else fleet.fixed)
    lanes, ready, hours = Lanes(), [], 0.0
    returns: deque[tuple[float, float, float]] = deque()
    per_minute = max(1, round(60 / step_s))
    for number, images in enumerate(arrivals.tolist()):
        now = number * step_s
        lanes.add(now, images)
        while returns and returns[0][0] <= now:
            _, arrived, count = returns.popleft()
            lanes.backlog.append([arrived, count])
            lanes.waiting += count
        if incident.lost and now == incident.at_s:
            _lose(ceil(incident.lost * crew.ready), crew, returns, kind, now)
        lanes.age(now)
        off = incident.at_s <= now < incident.at_s + incident.outage_s
        crew.step(now)
        lanes.serve(now, 0.0 if off else crew.ready * kind.images_per_s * step_s)
        if keda:  # it counts leased images as well
            keda.step(now, lanes.waiting + images / step_s * kind.image_s, crew)
        extra = incident.deploy and incident.at_s <= now < incident.at_s + crew.all * kind.start_s
        hours += (crew.all + extra) * step_s / 3600
        if number % per_minute == 0:
            ready.append(0 if off else crew.ready)
    scored = np.array(lanes.scored)
    # The work on an image is spread over steps, so the mean of its parts has half of that already.
    scored[:, 1] += max(0.0, kind.image_s - 0.5 / kind.images_per_s)
    return Outcome(scored, np.array(ready, dtype=np.float64), hours, lanes.waiting)


def _lose(count: int, crew: Crew, returns: deque[tuple[float, float, float]], kind: Kind, now: float) -> None:
    """Lose workers: the images that they hold wait until their leases end, and other workers start instead.

    These images count twice, once as if the lost worker had scored them: they are a few hundred of millions.
    """
    crew.stop(count)
    crew.start(count, now + kind.start_s)
    returns.append((now + LEASE_S, now, float(count * kind.held)))


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    fleet: Fleet
    incident: Incident
    outcome: Outcome

    def cells(self) -> list[str]:
        """As text."""
        found, fleet = self.outcome, self.fleet
        since = self.incident.at_s + self.incident.outage_s if self.incident.outage_s else 0
        behind = found.caught_up_s - self.incident.outage_s if self.incident.outage_s else 0.0
        per_million = found.worker_hours / found.images * 1e6
        workers = f"1 to {int(found.ready.max())}" if fleet.scaled else str(fleet.fixed)
        return [
            f"{fleet.per_s:,.0f}",
            fleet.kind.name,
            f"{workers}{', KEDA' * fleet.scaled}",
            self.incident.name,
            f"{found.waited(0.5, since):.1f}",
            f"{found.waited(0.99, since):.1f}",
            f"{max(_p99(found, since)[1]):.0f}",
            f"{found.longest(since):.0f}",
            f"{behind / 3600:.0f} h later" if behind else "",
            f"{per_million:.1f}",
            f"{per_million * fleet.kind.hour:.2f}",
        ]


HEAD = (
    "images/s",
    "workers of",
    "how many",
    "the day",
    "p50, s",
    "p99, s",
    "p99 of the worst ten minutes, s",
    "longest, s",
    "backlog empty",
    "worker-hours a million",
    "cost a million",
)


def rows(rates: Sequence[float], kinds: Sequence[Kind]) -> Iterator[Row]:
    """Every fleet on every day."""
    for per_s, kind, scaled, incident in product(rates, kinds, (False, True), INCIDENTS):
        fleet = Fleet(kind, per_s, scaled)
        yield Row(fleet, incident, simulate(fleet, day_curve(per_s, incident.days), incident))


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    rule = ["---"] * len(HEAD)
    return "\n".join(f"| {' | '.join(line)} |" for line in (HEAD, rule, *lines))


@click.command()
@click.option(
    "--rate", "rates", type=click.FloatRange(1), multiple=True, default=(1_000.0, 10_000.0), show_default=True
)
@click.option("--hour", "hours", multiple=True, metavar="KIND=PRICE", help="What an hour of a worker costs.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="A picture to write.")
@click.option("--check", is_flag=True, help="Instead, compare the simulation with a real worker here.")
def main(rates: tuple[float, ...], hours: tuple[str, ...], plot: Path | None, *, check: bool) -> None:
    """Simulate fleets."""
    if check:
        from tests.benchmarks.fleet_check import check_here

        click.echo(check_here())
        return
    prices = _prices(hours)
    kinds = [replace(kind, hour=prices.get(kind.name, kind.hour)) for kind in KINDS]
    click.echo(markdown([row.cells() for row in rows(rates, kinds)]))
    if plot is not None:
        draw(Fleet(kinds[0], rates[0]), plot)


def _prices(hours: Sequence[str]) -> dict[str, float]:
    try:
        found = {name: float(price) for name, price in (each.split("=") for each in hours)}
    except ValueError as error:
        raise click.BadParameter("--hour takes KIND=PRICE, such as cpu=0.09") from error
    if unknown := found.keys() - {kind.name for kind in KINDS}:
        raise click.BadParameter(f"--hour {min(unknown)}: the kinds are {', '.join(kind.name for kind in KINDS)}")
    return found


def draw(fleet: Fleet, path: Path) -> None:
    """The day's load and what fleets do about it, and how long a score takes meanwhile."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    load, waits = figure.subplots(2, 1, sharex=True)
    arrivals = day_curve(fleet.per_s)
    load.plot(*_by_minute(arrivals), color="0.6", label="images arrive")
    days: list[tuple[str, Fleet, Incident]] = [
        ("fixed fleet", fleet, INCIDENTS[0]),
        ("KEDA", replace(fleet, scaled=True), INCIDENTS[0]),
        ("fixed fleet, a tenth lost at 20:00", fleet, INCIDENTS[1]),
        ("fixed fleet, after a day's outage", fleet, INCIDENTS[3]),
    ]
    for name, each, incident in days:
        found = simulate(each, day_curve(each.per_s, incident.days), incident)
        if not incident.outage_s and not incident.lost:
            load.plot(np.arange(len(found.ready)) / 60, found.ready * each.kind.images_per_s, label=f"{name} can do")
        waits.plot(*_p99(found, incident.at_s + incident.outage_s if incident.outage_s else 0), label=name)
    load.set(ylabel="images a second", title=f"{fleet.per_s:,.0f} images a second, simulated", ylim=(0, None))
    waits.set(ylabel="p99 time to a score, s", xlabel="hour of the day", yscale="log", xlim=(0, 24))
    for axes in (load, waits):
        axes.legend(loc="upper left", fontsize="small")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def _by_minute(arrivals: Series) -> tuple[Series, Series]:
    minutes = arrivals[: len(arrivals) // 60 * 60].reshape(-1, 60).mean(axis=1)
    return np.arange(len(minutes)) / 60, minutes


def _p99(found: Outcome, since: float, bin_s: int = 600) -> tuple[list[float], list[float]]:
    """The p99 of each ten minutes' uploads, over one day."""
    hours, values = [], []
    for at in np.arange(since, since + DAY_S, bin_s):
        arrived = found.scored[:, 0]
        then = found.scored[(arrived >= at) & (arrived < at + bin_s)]
        if len(then):
            hours.append(float(at - since) / 3600)
            values.append(replace(found, scored=then).waited(0.99))
    return hours, values


if __name__ == "__main__":
    main()
