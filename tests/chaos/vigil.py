"""``make vigil [MINUTES=60] [SEED=n]``: everything at once, for long, at production's settings, with faults.

Prints how soon photos had their score, and writes memory, connections and what waits as a plot to ``var/vigil.png``.
Exit status 1 when something is lost, doubled or wrong.
"""

import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
from sqlalchemy import select

from db.errors import DatabaseError
from db.schema import Image
from tests.chaos import broker_faults as broker
from tests.chaos import database_faults as database
from tests.chaos import photo_faults as photos
from tests.chaos import upload_faults as uploads
from tests.chaos import worker_faults as workers
from tests.chaos.curves import Curves, draw
from tests.chaos.fault import Fault
from tests.chaos.kinds import STEADY
from tests.chaos.world import World, world

FAULTS = (
    *(workers.KILL, workers.KILL_ALL, workers.TERMINATE, workers.ROLL, workers.FREEZE),
    *(broker.KILL, broker.KILL_AND_FORGET, broker.FLUSH, broker.DROP_CLIENTS, broker.PAUSE_CLIENTS, broker.FREEZE),
    *(database.RESTART, database.CRASH, database.ABSENCE, database.DROP_CONNECTIONS, database.READ_ONLY),
    *(photos.AWAY, uploads.KILL),
)
#: What the suite of faults sets to seconds is left as it is for everybody here.
_NAMES = (
    *("LEASE_S", "RESEND_S", "VISIBILITY_TIMEOUT_S", "RETRY_S", "RETRY_DEADLINE_S", "MAX_ATTEMPTS", "MAX_LOSSES"),
    *("FETCH_TIMEOUT_S", "DECODER_TIMEOUT_S", "STOP_S", "SWEEP_S", "CONCURRENCY"),
)
_UNHURRIED = frozenset(f"UNMASK_{name}" for name in _NAMES)
_WORKERS, _BACKLOG = 2, 20
_EVERY_S, _SAMPLE_S = 240.0, 5.0
#: The longest that a row may wait for its score, in seconds, and which share must not (see the alert rules).
_SLO_S, _SLO = 60.0, 0.999


@dataclass(slots=True)
class Log:
    """The curves, and when each fault struck, in seconds from the start."""

    curves: Curves = field(default_factory=Curves)
    strikes: list[tuple[float, str]] = field(default_factory=list)


@click.command()
@click.option("--seed", type=int, help="Seed of an earlier run, to repeat it.")
@click.option("--minutes", type=click.FloatRange(1), default=60.0, show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), default=Path("var/vigil.png"), show_default=True)
def vigil(*, seed: int | None, minutes: float, plot: Path) -> None:
    """Run everything for a long time while parts fail."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    click.echo(f"seed {seed}", err=True)
    with (
        tempfile.TemporaryDirectory(prefix="unmask-vigil-") as folder,
        world("postgresql", seed, Path(folder), _WORKERS, 30.0, _UNHURRIED) as made,
    ):
        log = _watch(made, 60 * minutes)
        drain_s = made.drain()
        found = made.look()
        wrong = made.pool.surprises + sorted(found.lost | found.duplicated | found.wrong)
        waits = _waits(made)
    plot.parent.mkdir(parents=True, exist_ok=True)
    plot.write_bytes(draw(log.curves, log.strikes))
    late = sum(wait > _SLO_S for wait in waits)
    click.echo(f"seed {seed}, {minutes:g} minutes, {len(log.strikes)} faults, {found.images} images: {plot}")
    click.echo(f"drained in {drain_s:.0f} s; {len(found.lost)} lost, {len(found.duplicated)} duplicated")
    click.echo(f"from row to score: {_quantiles(waits)}; {1 - late / len(waits):.3%} within {_SLO_S:g} s ({_SLO:.1%})")
    for said in wrong:
        click.echo(said, err=True)
    sys.exit(1 if wrong else 0)


def _watch(made: World, seconds: float) -> Log:
    """Load and faults in turns, while a thread takes samples."""
    log, start, done = Log(), time.monotonic(), threading.Event()
    made.load(STEADY, _BACKLOG)
    made.until(lambda: len(made.pool.ready()) == _WORKERS, "all workers are ready")
    watcher = threading.Thread(target=_sample, args=(made, log.curves, start, done), daemon=True)
    watcher.start()
    while (now := time.monotonic() - start) < seconds:
        made.pause(min(_EVERY_S, seconds - now))
        if time.monotonic() - start < seconds:
            _strike(made, made.random.choice(FAULTS), log, start)
    done.set()
    watcher.join()
    return log


def _strike(made: World, fault: Fault, log: Log, start: float) -> None:
    log.strikes.append((time.monotonic() - start, fault.name))
    click.echo(f"{log.strikes[-1][0]:6.0f} s {fault.name}", err=True)
    made.a_ready_worker()
    made.pool.excused = fault.excused
    fault.strike(made)
    made.until(lambda: len(made.pool.ready()) == _WORKERS, "all workers are ready again")
    made.pool.excused = frozenset()


def _sample(made: World, curves: Curves, start: float, done: threading.Event) -> None:
    while not done.wait(_SAMPLE_S):
        try:
            curves.add(made, time.monotonic() - start)
        except (DatabaseError, OSError, StopIteration):
            continue  # whatever it asked is away: that is what the faults are for


def _waits(made: World) -> list[float]:
    """How long the row of each scorable photo waited for its score, in seconds."""
    with made.database.reading() as session:
        rows = session.execute(select(Image.created_at, Image.changed_at).where(Image.state == "scored"))
        return [(changed - created).total_seconds() for created, changed in rows]


def _quantiles(waits: Sequence[float]) -> str:
    ordered, shares = sorted(waits), (0.5, 0.95, 0.99, 1)
    return ", ".join(f"p{100 * share:g} {ordered[int(share * (len(ordered) - 1))]:.1f} s" for share in shares)


if __name__ == "__main__":
    vigil(prog_name="make vigil")
