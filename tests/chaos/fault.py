"""A fault: what is done to a world, how often, and under which load."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.kinds import STEADY, Mix
from tests.chaos.world import World


@dataclass(frozen=True, slots=True)
class Fault:
    """``strike`` happens ``times`` times, ``quick_times`` in the short run, at moments that the seed chooses."""

    name: str
    strike: Callable[[World], None]
    times: int
    quick_times: int = 0
    mix: Mix = field(default_factory=lambda: STEADY)
    #: The longest pause before a strike, in seconds.
    gap_s: float = 1.0
    #: Exit statuses with which workers may end.
    excused: frozenset[int] = frozenset()
