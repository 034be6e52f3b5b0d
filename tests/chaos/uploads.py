"""Starts, directs and kills the process of the upload flow, and knows what it committed."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.kinds import Mix

#: An uploader that does not answer for so long hangs.
_PATIENCE_S = 120.0


class Uploads:
    """Steady load. ``committed`` holds the id of each image whose commit returned."""

    def __init__(self, environment: Mapping[str, str], log: Path, seed: int) -> None:
        self.committed: set[str] = set()
        #: The longest that a commit and its message took, in seconds.
        self.slowest_s = 0.0
        self._environment = dict(environment)
        self._log = log
        self._seed = seed
        self._task = ""
        self._halted = threading.Event()
        self._start()

    def go(self, mix: Mix, backlog: int, echo: int = 0) -> None:
        """Start uploading."""
        self._task = json.dumps({"mix": dict(mix), "backlog": backlog, "echo": echo})
        self._send(self._task)

    def halt(self) -> None:
        """Stop uploading; returns when no upload is under way."""
        self._task = ""
        self._halted.clear()
        self._send("halt")
        if not self._halted.wait(_PATIENCE_S):
            raise RuntimeError(f"the uploader hangs: {self._log.read_text()[-1500:]}")

    def kill(self) -> None:
        """SIGKILL it at whatever it does; another one takes its place."""
        self.close()
        self._start()
        if self._task:
            self._send(self._task)

    def close(self) -> None:
        """Stop it for good."""
        self._process.kill()
        self._reader.join()
        self._process.communicate()

    def _start(self) -> None:
        self._seed += 1
        command = [sys.executable, "-m", "tests.chaos.uploader", str(self._seed)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._reader = threading.Thread(target=self._listen, args=[self._process], daemon=True)
        self._reader.start()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            word = line.strip()
            if word == "halted":
                self._halted.set()
            elif word.startswith("took "):
                self.slowest_s = max(self.slowest_s, float(word.removeprefix("took ")))
            else:
                self.committed.add(word)
