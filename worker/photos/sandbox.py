"""Decodes pictures that may have killed a worker: one at a time, in a child process with limits, which may die.

The pixels are those of `trainer.pixels.preprocess.decode`, by the same code; only the process is another.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from db.file_signals import FileSignal
from trainer.errors import Rejected
from trainer.pixels.preprocess import SIZE, Picture, Pixels
from worker.core.errors import DecoderError
from worker.core.settings import SandboxSettings
from worker.photos import sandbox_child

_MEGABYTE = 1024 * 1024


class Sandbox:
    """One child process, started when it is needed and again after it died; safe to share between threads.

    ``trust_list``: a file of certificates for `signals`. A question that waits for others for more than ``wait_s``
    seconds is given up; by default none is.
    """

    def __init__(self, settings: SandboxSettings, trust_list: Path | None = None, wait_s: float = -1) -> None:
        self._settings = settings
        self._trust_list = trust_list
        self._wait_s = wait_s
        self._alone = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def decode(self, data: bytes) -> Picture:
        """Decode as `trainer.pixels.preprocess.decode` does, and raise as it does.

        Raises `DecoderError` when the picture killed the child, or ran over a limit.
        """
        head, body = self._ask("pixels", data)
        pixels = np.frombuffer(body, dtype=np.uint8).reshape(SIZE, SIZE, 3)
        facts = (head["width"], head["height"], head["format"], head["animated"], tuple(head["notes"]))
        return Picture(pixels, *facts)

    def redeliveries(self, data: bytes) -> list[Pixels]:
        """The pixels of other deliveries: see `trainer.pixels.views.redeliveries`. Raises as `decode` does."""
        _, body = self._ask("redeliveries", data)
        return list(np.frombuffer(body, dtype=np.uint8).reshape(-1, SIZE, SIZE, 3))

    def preview(self, data: bytes) -> bytes:
        """A JPEG of at most 512×512 pixels for people to look at; raises as `decode` does."""
        return self._ask("preview", data)[1]

    def thumb(self, data: bytes) -> bytes:
        """A small JPEG for lists; raises as `decode` does."""
        return self._ask("thumb", data)[1]

    def signals(self, data: bytes) -> list[FileSignal]:
        """What a photo's file says of its origin: see `worker.provenance.reader`. Raises `DecoderError` as `decode`."""
        return [FileSignal(**signal) for signal in self._ask("signals", data)[0]["signals"]]

    def original(self, data: bytes) -> bytes:
        """A JPEG of the photo's own size, within the limit of `sandbox_child`; raises as `decode` does."""
        return self._ask("original", data)[1]

    def close(self) -> None:
        """End the child process, if there is one."""
        with self._alone:
            self._end()

    def _ask(self, kind: str, data: bytes) -> tuple[dict[str, Any], bytes]:
        if not self._alone.acquire(timeout=self._wait_s):
            raise DecoderError("decoder_busy", f"other photos kept the decoder busy for {self._wait_s:g} s")
        try:
            answer = self._exchange(self._running(), kind, data)
        finally:
            self._alone.release()
        match answer[0]:
            case {"memory": True}:
                raise DecoderError("decoder_memory", f"more than {self._settings.decoder_memory_mb} MB of memory")
            case {"rejected": [reason, limit, value]}:
                raise Rejected(reason, limit, value)
        return answer

    def _exchange(self, child: subprocess.Popen[bytes], kind: str, data: bytes) -> tuple[dict[str, Any], bytes]:
        """One question and its answer, within the limit of the wall clock."""
        overrun = threading.Event()
        timer = threading.Timer(self._settings.decoder_timeout_s, _kill, [child, overrun])
        timer.daemon = True
        timer.start()
        try:
            sandbox_child.write(_stream(child.stdin), kind.encode(), data)
            lengths = _stream(child.stdout).read(sandbox_child.LENGTHS.size)
            head, body = sandbox_child.read(_stream(child.stdout), lengths)
            return json.loads(head), body
        except Exception as error:  # a broken pipe or a cut answer: the child's death can look like anything
            self._end()
            raise self._death(child, overrun=overrun.is_set()) from error
        finally:
            timer.cancel()
            if overrun.is_set():  # perhaps at the last moment: the next picture must not meet a dying child
                self._end()

    def _death(self, child: subprocess.Popen[bytes], *, overrun: bool) -> DecoderError:
        if overrun or child.returncode == -signal.SIGXCPU:
            return DecoderError("decoder_timeout", f"not decoded within {self._settings.decoder_timeout_s:g} s")
        return DecoderError("decoder_killed", f"the picture killed the decoder (exit status {child.returncode})")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._end()
            self._child = self._start()
        return self._child

    def _start(self) -> subprocess.Popen[bytes]:
        limits = [self._settings.decoder_memory_mb * _MEGABYTE, max(1, round(self._settings.decoder_timeout_s))]
        trusted = [str(self._trust_list.resolve())] if self._trust_list is not None else []
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "worker.photos.sandbox_child", *map(str, limits), *trusted],
            cwd=Path(__file__).parents[2],
            # The stacks of more threads would count towards the memory limit.
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the worker to handle
        )

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            for stream in (self._child.stdin, self._child.stdout):
                _shut(stream)
            self._child.wait()
            self._child = None


def _kill(child: subprocess.Popen[bytes], overrun: threading.Event) -> None:
    overrun.set()
    child.kill()


def _stream(stream: IO[bytes] | None) -> Any:
    if stream is None:
        raise DecoderError("decoder_killed", "the decoder has no pipes")
    return stream


def _shut(stream: IO[bytes] | None) -> None:
    try:
        if stream is not None:
            stream.close()
    except OSError:  # nobody is left to read what the pipe still holds
        pass
