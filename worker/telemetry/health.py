"""How a worker process is, by its own word: a small file that its consumer's loop keeps fresh. Asks nobody else.

Ages are taken on the machine's monotonic clock, so that a clock that is set makes nobody old.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from worker.broker.messages import refusals

log = logging.getLogger(__name__)

#: The loop says that it goes round every so often.
BEAT_S = 2.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a process last said of itself."""

    pid: int
    #: When the process began, which tells it from a later one with the same id.
    born: str
    owner: str = ""
    beat: float = 0.0
    #: Whether its model is loaded and passed its test; and whether it takes messages.
    loaded: bool = False
    consuming: bool = False
    #: Why it is past saving.
    error: str | None = None
    #: Messages that it refused, by reason.
    refused: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Status:
    """What that means: ``live`` ones are left alone, ``loaded`` ones have started, ``ready`` ones do their work."""

    pid: int
    owner: str
    age_s: float
    live: bool
    loaded: bool
    ready: bool
    error: str | None
    refused: dict[str, int]


class Health:
    """This process's file in ``folder``. A disk that is full is logged, and kills nobody."""

    def __init__(self, folder: Path) -> None:
        pid = os.getpid()
        self._path = folder / f"worker-{pid}.json"
        self._said = Said(pid, _born(pid))
        self._lock = threading.Lock()
        self.beat()

    def beat(self) -> None:
        """Say that the loop goes round."""
        self._say(beat=time.monotonic(), refused=dict(refusals.counts))

    def loaded(self, owner: str) -> None:
        """Say that the model is loaded and passed its test."""
        self._say(loaded=True, owner=owner)

    def consuming(self, *, consuming: bool) -> None:
        """Say whether messages are taken."""
        self._say(consuming=consuming, beat=time.monotonic())

    def failed(self, why: str) -> None:
        """Say that this process is past saving."""
        self._say(error=why)

    @property
    def ready(self) -> bool:
        """Whether it loaded its model, takes messages, and is not past saving."""
        return self._said.loaded and self._said.consuming and self._said.error is None

    def remove(self) -> None:
        """Say nothing more; for the end."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _say(self, **change: object) -> None:
        part = self._path.with_suffix(".part")
        with self._lock:
            self._said = replace(self._said, **change)  # type: ignore[arg-type]  # each caller's fit
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                part.write_text(json.dumps(asdict(self._said)))
                part.replace(self._path)
            except OSError as error:
                log.warning("health cannot be written to %s: %s", self._path, error.strerror)


def statuses(folder: Path, live_s: float) -> list[Status]:
    """Of every worker process of this machine that lives, by what it said within ``live_s``."""
    now = time.monotonic()
    return [_status(said, now - said.beat, live_s) for said in _read(folder)]


def _status(said: Said, age_s: float, live_s: float) -> Status:
    live = age_s <= live_s and said.error is None
    loaded = live and said.loaded
    ready = loaded and said.consuming
    return Status(said.pid, said.owner, round(age_s, 1), live, loaded, ready, said.error, said.refused)


def _read(folder: Path) -> Iterator[Said]:
    for path in sorted(folder.glob("worker-*.json")):
        with suppress(OSError, ValueError, TypeError):  # gone meanwhile, or not ours
            said = _parsed(path.read_text())
            if _alive(said.pid) and _born(said.pid) == said.born:
                yield said


def _parsed(text: str) -> Said:
    """What it says that we know of: another release may say more."""
    known = {part.name for part in fields(Said)}
    return Said(**{name: value for name, value in dict(json.loads(text)).items() if name in known})


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
