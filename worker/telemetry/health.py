"""A worker's health, as it reports it: a small file that its consumer's loop keeps fresh, read without Redis or SQL.

Ages are measured on the machine's monotonic clock, so that setting the clock makes no worker look old.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from db.redaction import redacted
from trainer.files import atomic_write
from worker.core.outage import PARTS
from worker.telemetry.refusals import refusals

log = logging.getLogger(__name__)

#: Seconds between two heartbeats of the consumer's loop.
BEAT_S = 2.0
#: What a part says that has no fault.
WELL = "ok"
#: A worker whose file is older cannot write it: it writes every two seconds.
_SILENT_S = 15.0


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The health file's content: what a process last reported of itself."""

    pid: int
    #: When the process started, which tells it from a later one with the same id.
    born: str
    owner: str = ""
    beat: float = 0.0
    #: Whether its model is loaded and passed its self-test; and whether it takes messages.
    loaded: bool = False
    consuming: bool = False
    #: Why it cannot go on.
    error: str | None = None
    #: Messages that it refused, by reason.
    refused: dict[str, int] = field(default_factory=dict)
    #: What it needs and cannot use at present (broker, record, model, disk), each with the reason.
    faults: dict[str, str] = field(default_factory=dict)
    #: When it last reported anything; releases before this field left it out.
    reported: float = 0.0
    #: Most images in one forward pass, once more did not fit into memory.
    batch_limit: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The report judged: a worker that is not ``live`` needs a restart; ``loaded``: started; ``ready``: at work.

    ``broker``, ``record``, ``model`` and ``disk`` are "ok", or say what is wrong there. Any of them makes a worker not
    ready; it goes on, and a restart would not help.
    """

    pid: int
    owner: str
    age_s: float
    live: bool
    loaded: bool
    ready: bool
    error: str | None
    refused: dict[str, int]
    broker: str = WELL
    record: str = WELL
    model: str = WELL
    disk: str = WELL
    batch_limit: int | None = None


class Health:
    """Writes this process's health file in ``folder``. A full disk is logged, and stops no worker."""

    def __init__(self, folder: Path) -> None:
        pid = os.getpid()
        self._path = folder / f"worker-{pid}.json"
        self._last = HealthReport(pid, _born(pid))
        self._lock = threading.Lock()
        self.beat()

    def beat(self) -> None:
        """Report that the consumer's loop goes round."""
        self._report(beat=time.monotonic(), refused=dict(refusals.counts))

    def loaded(self, owner: str) -> None:
        """Report that the model is loaded and passed its self-test."""
        self._report(loaded=True, owner=owner)

    def consuming(self, *, consuming: bool) -> None:
        """Report whether this process takes messages."""
        self._report(consuming=consuming, beat=time.monotonic())

    def batch_limited(self, images: int) -> None:
        """Report that larger batches do not fit into memory."""
        self._report(batch_limit=images)

    def failed(self, why: str) -> None:
        """Report that this process cannot go on, and why."""
        self._report(error=redacted(why))

    def report_faults(self, faults: Mapping[str, str]) -> None:
        """Report what this process needs and cannot use, by part."""
        self._report(faults=dict(faults))

    @property
    def ready(self) -> bool:
        """Whether it has loaded its model, takes messages, and has not failed."""
        return self._last.loaded and self._last.consuming and self._last.error is None

    def remove(self) -> None:
        """Delete the file, at the process's end."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _report(self, **change: object) -> None:
        with self._lock:
            self._last = replace(self._last, reported=time.monotonic(), **change)  # type: ignore[arg-type]  # each caller's fit
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with atomic_write(self._path, durable=False) as part:  # rewritten every two seconds
                    part.write_text(json.dumps(asdict(self._last)))
            except OSError as error:
                log.warning("health file %s cannot be written: %s", self._path, error.strerror)


def statuses(folder: Path, live_s: float) -> list[WorkerStatus]:
    """The status of each running worker process of this machine; one silent for ``live_s`` seconds is not live."""
    now = time.monotonic()
    return [_status(report, now - report.beat, live_s) for report in _read(folder)]


def _status(report: HealthReport, age_s: float, live_s: float) -> WorkerStatus:
    live = age_s <= live_s and report.error is None
    loaded = live and report.loaded
    parts = _parts(report)
    ready = loaded and report.consuming and all(said == WELL for said in parts.values())
    judged = WorkerStatus(report.pid, report.owner, round(age_s, 1), live, loaded, ready, report.error, report.refused)
    judged = replace(judged, batch_limit=report.batch_limit)
    return replace(judged, **parts)  # type: ignore[arg-type]  # the parts are text


def _parts(report: HealthReport) -> dict[str, str]:
    """What each part says: what the worker reported, and what its silence tells."""
    parts: dict[str, str] = {part: report.faults.get(part, WELL) for part in PARTS}
    silent_s = time.monotonic() - report.reported
    if report.reported and silent_s > _SILENT_S and parts["disk"] == WELL:
        parts["disk"] = f"nothing was reported for {silent_s:.0f} s"
    if report.loaded and not report.consuming and parts["broker"] == WELL:
        parts["broker"] = "no messages come: connecting, or stopping"
    if not report.loaded and parts["model"] == WELL:
        parts["model"] = "not loaded yet"
    return parts


def _read(folder: Path) -> Iterator[HealthReport]:
    for path in sorted(folder.glob("worker-*.json")):
        with suppress(OSError, ValueError, TypeError):  # deleted meanwhile, or not ours
            report = _parsed(path.read_text())
            if _alive(report.pid) and _born(report.pid) == report.born:
                yield report


def _parsed(text: str) -> HealthReport:
    """Read the fields that this release knows; another release may write more."""
    known = {part.name for part in fields(HealthReport)}
    return HealthReport(**{name: value for name, value in dict(json.loads(text)).items() if name in known})


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _born(pid: int) -> str:
    """Field 22 of ``/proc/<pid>/stat`` (proc_pid_stat(5)); empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""
