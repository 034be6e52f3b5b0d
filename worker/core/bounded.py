"""Asks several things at once, each of which may hang, and answers within a limit all the same."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: No command takes so long to start.
_STARTED_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question: a value, or the error that it raised; neither when no answer came in time."""

    value: Any = None
    error: Exception | None = None
    came: bool = True


def ask_all(questions: Mapping[str, Callable[[], Any]], limit_s: float) -> dict[str, Answer]:
    """The answers that came within the limit; what hangs is left behind in a daemon thread."""
    answers: dict[str, Answer] = {}
    threads = [threading.Thread(target=_ask, args=(answers, *item), daemon=True) for item in questions.items()]
    for thread in threads:
        thread.start()
    until = time.monotonic() + limit_s
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return {name: answers.get(name, Answer(came=False)) for name in questions}


def remaining_s(whole_s: float, least_s: float) -> float:
    """What is left of a command's time after its start, which imports much; at least ``least_s``.

    In a process that has run for long, no command starts: all of the time is left.
    """
    age_s = process_age_s()
    return whole_s if age_s > _STARTED_S else max(least_s, whole_s - age_s)


def process_age_s() -> float:
    """For how long this process has run; 0 where the system does not tell.

    Field 22 of ``/proc/self/stat`` (proc_pid_stat(5)) counts clock ticks since the machine's start.
    """
    with suppress(OSError, ValueError, IndexError, AttributeError):
        from os import sysconf

        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / sysconf("SC_CLK_TCK"))
    return 0.0


def _ask(answers: dict[str, Answer], name: str, question: Callable[[], Any]) -> None:
    try:
        answers[name] = Answer(question())
    except Exception as error:  # noqa: BLE001 - whoever asked judges it
        answers[name] = Answer(error=error)
