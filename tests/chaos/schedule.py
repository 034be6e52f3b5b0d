"""What happens in a run, and in which order: both follow from the seed."""

import random
from collections.abc import Sequence
from dataclasses import replace

from tests.chaos import broker_faults as broker
from tests.chaos import command_faults as commands
from tests.chaos import database_faults as database
from tests.chaos import photo_faults as photos
from tests.chaos import row_faults as rows
from tests.chaos import upload_faults as uploads
from tests.chaos import worker_faults as workers
from tests.chaos.fault import Fault

#: On each database, and how often: in all 200 workers are killed (those "of all at once" are four each), and 50 times
#: one is told to stop (also in a rolling restart, and twice those "twice").
FAULTS: dict[str, Sequence[Fault]] = {
    "postgresql": (
        workers.KILL,
        workers.KILL_ALL,
        workers.TERMINATE,
        workers.TERMINATE_TWICE,
        workers.ROLL,
        workers.FREEZE,
        workers.CLOCK,
        workers.NO_MODEL,
        broker.KILL,
        broker.KILL_AND_FORGET,
        broker.FLUSH,
        broker.DROP_CLIENTS,
        broker.PAUSE_CLIENTS,
        broker.FREEZE,
        broker.FILL,
        broker.DEMOTE,
        broker.ECHO,
        broker.NONSENSE,
        broker.SWEEPERS,
        database.RESTART,
        database.CRASH,
        database.ABSENCE,
        database.DROP_CONNECTIONS,
        database.READ_ONLY,
        database.LOCK_TABLE,
        photos.SLOW_HOST,
        photos.LYING_HOST,
        photos.AWAY,
        photos.KILLER,
        photos.HOG,
        photos.SLEEPER,
        uploads.KILL,
        rows.ODD,
        commands.RETENTION,
        commands.RESCORE,
        commands.PROMOTE,
    ),
    "sqlite": (
        replace(workers.KILL, times=55, quick_times=1),
        replace(workers.TERMINATE, times=14, quick_times=1),
        replace(workers.FREEZE, times=1, quick_times=0),
        replace(broker.FLUSH, times=2, quick_times=0),
        replace(uploads.KILL, times=5, quick_times=0),
        replace(photos.KILLER, times=1, quick_times=0),
        database.LOCK,
        database.LOCK_LONG,
        database.FILL_DISK,
        rows.ODD,
        replace(commands.RETENTION, times=2, quick_times=0),
        replace(commands.RESCORE, times=1, quick_times=0),
        replace(commands.PROMOTE, times=1, quick_times=0),
    ),
}


def plan(kind: str, seed: int, *, quick: bool) -> list[tuple[Fault, int]]:
    """Each fault and how often it strikes, in the order of the seed."""
    chosen = [(fault, fault.quick_times if quick else fault.times) for fault in FAULTS[kind]]
    chosen = [(fault, times) for fault, times in chosen if times]
    random.Random(f"{seed} {kind} order").shuffle(chosen)
    return chosen
