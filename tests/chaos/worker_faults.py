"""Harm to workers: killed, stopped, frozen, with a wrong clock, without their model."""

import signal

from tests.chaos.fault import Fault
from tests.chaos.world import LEASE_S, World

#: How a killed process ends, and one that could not start.
KILLED, REFUSED = -signal.SIGKILL, 2


def _kill(world: World) -> None:
    world.pool.kill(world.a_ready_worker())


def _kill_all(world: World) -> None:
    world.until(lambda: len(world.pool.ready()) == world.pool.size, "all workers are ready")
    for worker in world.pool.ready():
        world.pool.kill(worker)


def _terminate(world: World) -> None:
    world.pool.terminate(world.a_ready_worker())


def _terminate_twice(world: World) -> None:
    worker = world.a_ready_worker()
    world.pool.terminate(worker)
    world.pause(world.random.uniform(0, 0.3))
    worker.send(signal.SIGTERM)
    world.until(lambda: worker.process.poll() is not None, "a worker that was told twice has stopped")


def _roll(world: World) -> None:
    """Each worker in turn is replaced, as a rolling restart does."""
    for worker in world.pool.ready():
        world.pool.terminate(worker)
        world.until(lambda: len(world.pool.ready()) == world.pool.size, "the next worker is ready")


def _freeze(world: World) -> None:
    """Stop it for longer than its leases and messages hold, so that others take them, then let it go on."""
    worker = world.a_ready_worker()
    worker.send(signal.SIGSTOP)
    world.pause(2 * LEASE_S)
    worker.send(signal.SIGCONT)


def _clock(world: World) -> None:
    """A worker whose clock jumps two hours ahead, and then two hours back."""
    clock = world.folder / "clock"
    clock.write_text("0")
    worker = world.pool.start(CHAOS_CLOCK=str(clock))
    world.until(worker.is_ready, "the worker with the wrong clock is ready")
    for seconds in (7200, -7200):
        clock.write_text(f"{seconds}")
        world.pause(2.0)
    world.pool.terminate(worker)


def _no_model(world: World) -> None:
    """The model's file is gone when a worker starts: it refuses, and the others serve."""
    models = world.folder / "models"
    models.rename(world.folder / "gone")
    refused = world.pool.ends[REFUSED]
    world.pool.kill(world.a_ready_worker())
    world.until(lambda: world.pool.ends[REFUSED] > refused, "a worker refuses to start")
    (world.folder / "gone").rename(models)


KILL = Fault("worker: SIGKILL", _kill, 125, 3, gap_s=0.6)
KILL_ALL = Fault("worker: SIGKILL of all at once", _kill_all, 5, 1)
TERMINATE = Fault("worker: SIGTERM", _terminate, 24, 2, gap_s=0.6)
TERMINATE_TWICE = Fault(
    "worker: SIGTERM twice", _terminate_twice, 4, 1, excused=frozenset({KILLED, -signal.SIGTERM, 1, 70, 143})
)
ROLL = Fault("worker: rolling restart", _roll, 1)
FREEZE = Fault("worker: SIGSTOP past its lease, SIGCONT", _freeze, 3, 1)
CLOCK = Fault("worker: clock jumps by hours", _clock, 1)
NO_MODEL = Fault("worker: model file gone at start", _no_model, 1, excused=frozenset({REFUSED}))
