"""Real worker processes, started again whenever one ends, as a supervisor would."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

#: A worker that was told to stop and has not after so long does not obey.
STOP_PATIENCE_S = 90.0


class Worker:
    """One process, its log, and what was done to it."""

    def __init__(self, environment: Mapping[str, str], log: Path, prefix: Sequence[str] = ()) -> None:
        self.log = log
        self.stopping_since: float | None = None
        #: Exit statuses with which it may obey; one that still starts has nothing to finish, and may just end.
        self.obedient = frozenset({0})
        with log.open("wb") as file:
            command = [*prefix, sys.executable, "-m", "worker", "worker"]
            self.process = subprocess.Popen(command, env=dict(environment), stdout=file, stderr=file)

    def is_ready(self) -> bool:
        """Whether it takes messages and was not told to stop."""
        return self.stopping_since is None and b" ready." in self.log.read_bytes()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a process that has just ended is ignored."""
        os.kill(self.process.pid, number)  # a zombie until it is polled, so the number is nobody else's

    def last_words(self) -> str:
        """The last lines of its log."""
        return self.log.read_text(errors="replace")[-1500:]


class Pool:
    """Keeps ``size`` workers running. ``surprises`` holds what no worker should have done."""

    def __init__(self, environment: Mapping[str, str], folder: Path, size: int) -> None:
        self.environment = dict(environment)
        self.size = size
        self.surprises: list[str] = []
        #: How workers ended by themselves, by exit status.
        self.ends: Counter[int] = Counter()
        #: Exit statuses that the present fault may cause.
        self.excused: frozenset[int] = frozenset()
        self.workers: list[Worker] = []
        self._folder = folder
        self._started = 0

    def tend(self) -> None:
        """Note which workers ended, and start those that are missing."""
        for worker in list(self.workers):
            self._look_at(worker)
        while sum(worker.stopping_since is None for worker in self.workers) < self.size:
            self.start()

    def start(self, **environment: str) -> Worker:
        """Start one more worker, with other settings where given."""
        self._started += 1
        worker = Worker(self.environment | environment, self._folder / f"worker-{self._started}.log")
        self.workers.append(worker)
        return worker

    def ready(self) -> list[Worker]:
        """The workers that take messages."""
        return [worker for worker in self.workers if worker.process.poll() is None and worker.is_ready()]

    def kill(self, worker: Worker) -> None:
        """SIGKILL."""
        worker.process.kill()
        worker.process.wait()
        if worker in self.workers:
            self.workers.remove(worker)

    def terminate(self, worker: Worker) -> None:
        """SIGTERM; `tend` checks that it ends."""
        worker.obedient |= frozenset() if worker.is_ready() else {-signal.SIGTERM}
        worker.stopping_since = time.monotonic()
        worker.send(signal.SIGTERM)

    def close(self) -> None:
        """Stop all workers in order; each must finish its work."""
        self.size = 0
        for worker in self.workers:
            if worker.stopping_since is None:
                self.terminate(worker)
        while self.workers:
            self.tend()
            time.sleep(0.05)

    def destroy(self) -> None:
        """Kill all workers, whatever they do."""
        for worker in list(self.workers):
            self.kill(worker)

    def _look_at(self, worker: Worker) -> None:
        status = worker.process.poll()
        if status is None:
            self._check_obedience(worker)
            return
        self.workers.remove(worker)
        if worker.stopping_since is None:
            self.ends[status] += 1
        if status not in (self.excused if worker.stopping_since is None else worker.obedient | self.excused):
            asked = "by itself" if worker.stopping_since is None else "after SIGTERM"
            self._report(f"{worker.log.name} ended {asked} with {status}", worker)

    def _check_obedience(self, worker: Worker) -> None:
        if worker.stopping_since is not None and time.monotonic() > worker.stopping_since + STOP_PATIENCE_S:
            self._report(f"{worker.log.name} has not stopped {STOP_PATIENCE_S:g} s after SIGTERM", worker)
            self.kill(worker)

    def _report(self, surprise: str, worker: Worker) -> None:
        self.surprises.append(surprise)
        sys.stderr.write(f"{surprise}; its last words:\n{worker.last_words()}\n")
