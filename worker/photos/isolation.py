"""Decodes pictures that may have killed a worker: one at a time, in a child process with limits, which may die of them.

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

from trainer.errors import Rejected
from trainer.pixels.preprocess import SIZE, Picture
from worker.photos import decoder
from worker.core.errors import DecoderError
from worker.core.settings import IsolationSettings

_MEGABYTE = 1024 * 1024


class Isolation:
    """One child process, begun when it is needed and again when it died; safe to share between threads."""

    def __init__(self, settings: IsolationSettings) -> None:
        self._settings = settings
        self._alone = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def decode(self, data: bytes) -> Picture:
        """As `trainer.pixels.preprocess.decode`; raises `DecoderError` when it killed the child, or ran over a limit."""
        head, body = self._ask("pixels", data)
        pixels = np.frombuffer(body, dtype=np.uint8).reshape(SIZE, SIZE, 3)
        return Picture(pixels, head["width"], head["height"], head["format"], head["animated"])

    def preview(self, data: bytes) -> bytes:
        """A JPEG of at most 512×512 pixels for people to look at; raises as `decode` does."""
        return self._ask("preview", data)[1]

    def close(self) -> None:
        """End the child, if there is one."""
        with self._alone:
            self._end()

    def _ask(self, kind: str, data: bytes) -> tuple[dict[str, Any], bytes]:
        with self._alone:
            answer = self._exchange(self._running(), kind, data)
        match answer[0]:
            case {"memory": True}:
                raise DecoderError("decoder_memory", f"more than {self._settings.decoder_memory_mb} MB of memory")
            case {"rejected": [reason, limit, value]}:
                raise Rejected(reason, limit, value)
        return answer

    def _exchange(self, child: subprocess.Popen[bytes], kind: str, data: bytes) -> tuple[dict[str, Any], bytes]:
        """One question and its answer, within the wall clock's limit."""
        overrun = threading.Event()
        timer = threading.Timer(self._settings.decoder_timeout_s, _kill, [child, overrun])
        timer.daemon = True
        timer.start()
        try:
            decoder.write(_stream(child.stdin), kind.encode(), data)
            lengths = _stream(child.stdout).read(decoder.LENGTHS.size)
            head, body = decoder.read(_stream(child.stdout), lengths)
            return json.loads(head), body
        except Exception as error:  # a pipe that broke, an answer cut short: whatever the death of a child looks like
            self._end()
            raise self._death(child, overrun=overrun.is_set()) from error
        finally:
            timer.cancel()
            if overrun.is_set():  # at the last moment, perhaps: the next picture must not find a dying child
                self._end()

    def _death(self, child: subprocess.Popen[bytes], *, overrun: bool) -> DecoderError:
        if overrun or child.returncode == -signal.SIGXCPU:
            return DecoderError("decoder_timeout", f"not decoded within {self._settings.decoder_timeout_s:g} s")
        return DecoderError("decoder_killed", f"the decoder died of it, with exit status {child.returncode}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._end()
            self._child = self._start()
        return self._child

    def _start(self) -> subprocess.Popen[bytes]:
        limits = [self._settings.decoder_memory_mb * _MEGABYTE, max(1, round(self._settings.decoder_timeout_s))]
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "worker.photos.decoder", *map(str, limits)],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # whose stacks would count
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the worker's business
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
    except OSError:  # what was left in it has nobody to read it
        pass
