"""Harm by photos and photo hosts: slow, lying, away; and pictures that kill, fill or stop whoever decodes them."""

from tests.chaos.fault import Fault
from tests.chaos.kinds import LYING, SERVED, SLOW, poisoned
from tests.chaos.worker_faults import KILLED
from tests.chaos.world import World
from worker.lifecycle.shutdown import BROKEN


def _go_on(world: World) -> None:
    world.pause(3.0)


def _away(world: World) -> None:
    world.some_uploads()
    world.host.away.set()
    world.pause(2.0)
    world.host.away.clear()
    world.pause(2.0)


def _poison(kind: str, world: World) -> None:
    """Upload at least one such picture among others."""

    def poisonous() -> int:
        return sum(image_id.startswith(f"{kind}.") for image_id in tuple(world.uploads.committed))

    before = poisonous()
    world.load(poisoned(kind))
    world.until(lambda: poisonous() > before, f"a {kind} is uploaded")
    world.load(SERVED)


def _killer(world: World) -> None:
    _poison("killer", world)


def _hog(world: World) -> None:
    _poison("hog", world)


def _sleeper(world: World) -> None:
    _poison("sleeper", world)


SLOW_HOST = Fault("photo host: stalls and dribbles", _go_on, 2, 1, mix=SLOW)
LYING_HOST = Fault("photo host: lies, resets, busy, endless", _go_on, 2, 1, mix=LYING)
AWAY = Fault("photo host: away", _away, 2, mix=SERVED)
KILLER = Fault("photo: kills its decoder", _killer, 3, 1, mix=SERVED, excused=frozenset({KILLED}))
HOG = Fault("photo: takes all of its decoder's memory", _hog, 1, mix=SERVED, excused=frozenset({KILLED}))
SLEEPER = Fault("photo: its decoder never ends", _sleeper, 1, mix=SERVED, excused=frozenset({BROKEN}))
