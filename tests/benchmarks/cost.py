"""What work cost: wall time, and processor time of the process."""

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Cost:
    """Of so many images."""

    images: int
    seconds: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of a processor for one image."""
        return 1000 * self.cpu_s / self.images


def cpu_s(pid: int) -> float:
    """Processor time that a process has taken, with the children that it has and had."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    alive = sum(sum(child.cpu_times()[:2]) for child in process.children(recursive=True))
    return float(sum(times[:4]) + alive)


def peak_mb(pid: int) -> float:
    """The most memory that a process has held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
