"""Curves over time of what must not grow (memory, connections, keys, waiting images), and their plot."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sqlalchemy import text

from tests.chaos.world import World
from trainer.report.plots.style import COLOURS, FAINT, REAL, png, styled

_CONNECTIONS = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
#: Panels, and the curves of each.
PANELS = (
    ("images waiting", ("waiting",)),
    ("images done", ("done",)),
    ("memory of a worker, MB", ("worker_mb",)),
    ("connections, threads, keys", ("connections", "threads", "keys")),
)


@dataclass(slots=True)
class Curves:
    """Samples by seconds from the start; of the workers, the largest."""

    seconds: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, made: World, seconds: float) -> None:
        """Take one sample; raises when a server is away, and then adds nothing."""
        pids = [worker.process.pid for worker in list(made.pool.workers)]
        waiting = made.pending()
        with made.database.reading() as session:
            connections = session.execute(_CONNECTIONS).scalar_one()
        now = {
            "waiting": waiting,
            "done": len(made.uploads.committed) - waiting,
            "worker_mb": max(_status(pid, "VmRSS") for pid in pids) / 1024,
            "threads": max(_status(pid, "Threads") for pid in pids),
            "connections": connections,
            "keys": int(made.broker.client.dbsize()),
        }
        self.seconds.append(seconds)
        for name, value in now.items():
            self.values.setdefault(name, []).append(value)


@styled
def _figure(curves: Curves, strikes: Sequence[tuple[float, str]]) -> Figure:
    figure = Figure(figsize=(12, 11), layout="constrained")
    panels: list[Axes] = list(figure.subplots(len(PANELS), 1, sharex=True))
    for axes, (title, names) in zip(panels, PANELS, strict=True):
        for name, colour in zip(names, COLOURS, strict=False):
            minutes = [seconds / 60 for seconds in curves.seconds]
            axes.plot(minutes, curves.values.get(name, []), color=colour, label=name)
        axes.set_title(title, loc="left")
        axes.set_ylim(bottom=0)
        for seconds, _ in strikes:
            axes.axvline(seconds / 60, color=FAINT, zorder=0)
        if len(names) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(names))
    for seconds, name in strikes:
        panels[0].annotate(
            name, (seconds / 60, 1), xycoords=("data", "axes fraction"), rotation=90, va="top", fontsize=7, color=REAL
        )
    panels[-1].set_xlabel("minutes")
    return figure


def draw(curves: Curves, strikes: Sequence[tuple[float, str]]) -> bytes:
    """Write a PNG: one panel below the other, and a vertical line for each fault."""
    return png(_figure(curves, strikes))


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
