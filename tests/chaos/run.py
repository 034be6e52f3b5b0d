"""A run: it strikes one fault after another, drains the queue after each, and checks the record."""

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.databases import Sqlite
from tests.chaos.fault import Fault
from tests.chaos.record import Findings
from tests.chaos.schedule import plan
from tests.chaos.world import MAX_ATTEMPTS, World, world

_NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
#: Problems of one fault that are named on stderr.
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Row:
    """What a fault caused: counts of the record after it."""

    database: str
    fault: str
    times: int
    images: int
    again: int
    lost: int
    duplicated: int
    wrong: int
    drain_s: float

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, nothing scored twice and nothing wrong."""
        return not (self.lost or self.duplicated or self.wrong)


def run(kind: str, seed: int, folder: Path, *, quick: bool, workers: int, only: str = "") -> Iterator[Row]:
    """Run all faults on one database, or those whose name matches ``only``; ``folder`` gets all files and logs."""
    chosen = [(fault, times) for fault, times in plan(kind, seed, quick=quick) if re.search(only, fault.name)]
    if not chosen:
        return
    with world(kind, seed, folder, workers, absence_s=6.0 if quick else 30.0) as made:
        for fault, times in chosen:
            if _is_possible(fault, made):
                yield _suffer(made, _NAMES[kind], fault, times)
            else:
                _note(f"left out, since this process may not mount a disk: {fault.name}")
        yield _end(made, _NAMES[kind])


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| fault | on | times | images | tried again | lost | duplicated | wrong | seconds to drain |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.fault} | {row.database} | {row.times} | {row.images} | {row.again} | {row.lost} | {row.duplicated} "
        f"| {row.wrong} | {row.drain_s:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _is_possible(fault: Fault, made: World) -> bool:
    return "disk" not in fault.name or (isinstance(made.server, Sqlite) and made.server.has_own_disk)


def _suffer(made: World, database: str, fault: Fault, times: int) -> Row:
    """Put load on, strike, drain, and check the record."""
    start, made.uploads.slowest_s = time.monotonic(), 0.0
    made.pool.excused = fault.excused
    deaths = made.pool.ends.total()
    made.load(fault.mix)
    made.a_ready_worker()
    made.some_uploads()
    for _ in range(times):
        made.pause(made.random.uniform(0, fault.gap_s))
        fault.strike(made)
    drain_s = made.drain()
    made.pool.excused = frozenset()
    _limit_deaths(made, fault, made.pool.ends.total() - deaths)
    row = _row(made, database, fault.name, times, drain_s, time.monotonic() - start)
    if not row.is_clean:
        made.pool.destroy()  # the next fault is judged by itself
    return row


def _limit_deaths(made: World, fault: Fault, deaths: int) -> None:
    """Check that one poison image costs at most ``MAX_ATTEMPTS`` restarts."""
    poison = sum(image_id.startswith(("killer.", "hog.", "sleeper.")) for image_id in made.uploads.committed)
    limit = poison * MAX_ATTEMPTS
    if fault.name.startswith("photo:") and deaths > limit:
        made.pool.surprises.append(f"{deaths} workers died of poison, and not at most {limit}")


def _end(made: World, database: str) -> Row:
    """Check that all workers stop in order and leave no message in Valkey."""
    made.a_ready_worker()  # the last fault may have left none, and nobody else takes what is left
    start = time.monotonic()
    _wait_for(lambda: made.broker.messages() == 0, made)
    drain_s = time.monotonic() - start
    if made.broker.messages():
        made.pool.surprises.append(f"left in Valkey: {made.broker.left()}")
    workers = made.pool.size
    made.pool.close()
    return _row(made, database, "the end: all workers stop", workers, drain_s, time.monotonic() - start)


def _wait_for(happened: Callable[[], bool], made: World) -> None:
    end = time.monotonic() + 60
    while not happened() and time.monotonic() < end:
        made.pause(0.2)


def _row(made: World, database: str, name: str, times: int, drain_s: float, seconds: float) -> Row:
    found = made.look()
    surprises, made.pool.surprises = made.pool.surprises, []
    _tell(found, surprises)
    row = Row(
        database,
        name,
        times,
        found.images,
        found.again,
        len(found.lost),
        len(found.duplicated),
        len(found.wrong) + len(surprises),
        drain_s,
    )
    verdict = "ok" if row.is_clean else "NOT OK"
    _note(
        f"{database:<10} {name:<46} {times:>4} × {verdict}: {row.images} images, {row.again} again, {seconds:.0f} s, "
        f"drained in {drain_s:.1f} s, slowest upload {made.uploads.slowest_s:.1f} s"
    )
    return row


def _tell(found: Findings, surprises: Sequence[str]) -> None:
    for what in ("lost", "duplicated", "wrong"):
        for said in sorted(getattr(found, what))[:_SHOWN]:
            _note(f"  {what}: {said}")
    for said in surprises:
        _note(f"  wrong: {said}")


def _note(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
