"""Probes: each asks one part that a worker needs, every few seconds, so that its health names what does not answer.

A part that hangs raises no error: a probe that is overdue is a fault, too.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from celery import Celery

from db.store.session import Database
from db.work import presence
from worker.broker import sender
from worker.core.outage import FaultLog, Part, faults
from worker.core.periodic import PeriodicThread
from worker.core.settings import WorkerSettings
from worker.telemetry.health import Health

_EVERY_S = 5.0
#: A probe that began so long ago and has not ended hangs.
_OVERDUE_S = 10.0
#: Less free space than this is a fault.
_FREE_BYTES = 64 * 1024 * 1024


class Probe(PeriodicThread):
    """Asks one part; `hangs` tells when there is no answer."""

    part: Part

    def __init__(self, fault: str) -> None:
        super().__init__(f"probe-{self.part}", fault, _EVERY_S)
        self._began: float | None = None

    def start(self) -> None:
        """Start, and ask at once: the record lists this worker from its start on."""
        super().start()
        self.wake()

    def step(self) -> bool:
        """Ask once; always False, since the next time can wait."""
        self._began = time.monotonic()
        try:
            self.ask()
        finally:
            self._began = None
        return False

    def ask(self) -> None:
        """Ask the part; raises what it answers."""
        raise NotImplementedError

    def hangs(self) -> str | None:
        """For how long the part has not answered; None when it answers."""
        began = self._began
        waited_s = time.monotonic() - began if began is not None else 0.0
        return f"has not answered for {waited_s:.0f} s" if waited_s > _OVERDUE_S else None


class RecordProbe(Probe):
    """Reports in the record that this worker is alive; `unmask status` counts such workers."""

    part = "record"

    def __init__(self, database: Database, owner: str) -> None:
        super().__init__("the record does not know that this worker is alive")
        self._database = database
        self._owner = owner

    def ask(self) -> None:
        """Report; raises `DatabaseError`."""
        with self._database.writing() as session:
            presence.report_alive(session, self._owner)

    def release_lock(self) -> None:
        """Report the end of this worker; raises `DatabaseError`."""
        with self._database.writing() as session:
            presence.report_end(session, self._owner)


class BrokerProbe(Probe):
    """Asks the broker how many messages wait."""

    part = "broker"

    def __init__(self, app: Celery) -> None:
        super().__init__("the broker does not answer")
        self._app = app

    def ask(self) -> None:
        """Ask; raises `BrokerError`."""
        sender.queued(self._app)


class DiskProbe(Probe):
    """Looks into the folder of models, and for free space where the health file lies."""

    part = "disk"

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__("a folder cannot be used")
        self._settings = settings
        self._folders = FaultLog(self._log, "a folder cannot be used", "disk")  # a step that found it has succeeded

    def ask(self) -> None:
        """Look; a fault is logged here, since an OSError is no outage to the thread."""
        try:
            _check_folders(self._settings.models_dir, self._settings.run_dir)
        except OSError as error:
            self._folders.raised(error)
        else:
            self._folders.cleared()


def _check_folders(models: Path, run: Path) -> None:
    next(models.iterdir(), None)
    free = shutil.disk_usage(run).free
    if free < _FREE_BYTES:
        raise OSError(f"{run}: {free} bytes are free (least: {_FREE_BYTES})")


class HealthReporter(PeriodicThread):
    """Writes this process's faults into its health file every two seconds, also while the consumer's loop hangs."""

    def __init__(self, health: Health, probes: Sequence[Probe]) -> None:
        super().__init__("health-reporter", "health is not reported", 2.0)
        self._health = health
        self._probes = probes

    def step(self) -> bool:
        """Report once; always False."""
        self._health.report_faults(self.current())
        return False

    def current(self) -> Mapping[str, str]:
        """The fault of each part that has one."""
        hanging = {probe.part: why for probe in self._probes if (why := probe.hangs()) is not None}
        return hanging | faults.by_part()
