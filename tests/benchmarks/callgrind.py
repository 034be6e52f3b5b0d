"""Counts the instructions of a process that Valgrind runs, and the system calls of one that runs by itself.

Counts do not depend on how busy the machine is. Callgrind: Weidendorfer, Kowarschik and Trinitis, "A tool suite for
simulation based analysis of memory access behavior" (ICCS 2004). Children that a process starts are counted with it.
"""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("valgrind", "callgrind_control", "strace")


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def command(folder: Path) -> list[str]:
    """The words before those of a program whose instructions will be counted; it writes its counts to ``folder``."""
    out = f"--callgrind-out-file={folder}/counts.%p"
    return ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", out]


def instructions(pid: int, folder: Path, work: Callable[[], None]) -> int:
    """Instructions of a process that `command` started, while some work lasts."""
    before = set(folder.glob("counts.*"))
    _control("-i", "on", pid)
    work()
    _control("-d", "", pid)
    _control("-i", "off", pid)
    return sum(map(_total, set(folder.glob("counts.*")) - before))


def system_calls(pid: int, folder: Path, work: Callable[[], None]) -> int:
    """System calls of all threads of a process while some work lasts."""
    table = folder / "strace.txt"
    words = [_path("strace"), "-f", "-c", "-o", str(table), "-p", str(pid)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as trace:
        time.sleep(1.0)  # until it is attached
        work()
        trace.send_signal(signal.SIGINT)
    lines = table.read_text().splitlines()
    return sum(int(line.split()[3]) for line in lines if re.match(r"\s+\d", line) and not line.endswith("total"))


def _control(flag: str, word: str, pid: int) -> None:
    words = [flag, word] if word else [flag]
    subprocess.run([_path("callgrind_control"), *words, str(pid)], check=True, capture_output=True)


def _path(program: str) -> str:
    return shutil.which(program) or program


def _total(path: Path) -> int:
    """Instructions in a file of Callgrind."""
    found = re.findall(r"^(?:totals|summary): (\d+)", path.read_text(errors="replace"), re.MULTILINE)
    return int(found[0]) if found else 0
