"""Harm to upload flows: killed in the middle of a call."""

from tests.chaos.fault import Fault
from tests.chaos.world import World


def _kill(world: World) -> None:
    world.some_uploads()
    world.pause(world.random.uniform(0, 0.2))
    world.uploads.kill()


KILL = Fault("upload flow: SIGKILL in a call", _kill, 15, 2)
