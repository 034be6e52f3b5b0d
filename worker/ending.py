"""How the ``unmask`` command ends: with an exit status that means something, and one line on stderr that says why.

Nobody who uses the command sees a traceback, except for a fault of ours that we do not know. What is recorded is done:
a command whose output is lost after its transaction committed has not failed.
"""

import os
import sys
from collections.abc import Callable
from io import BufferedWriter, FileIO, TextIOWrapper

import click

from db.redaction import RedactedStream, know_environment, redacted

WRONG_USE, FAILED = 2, 1
#: Modules that only some installations have; the console's image has none of them.
OPTIONAL = {
    *("PIL", "prometheus_client", "requests", "standardwebhooks", "structlog", "timm", "torch"),
    *("matplotlib", "scipy", "sklearn", "tqdm"),
}


class OutputError(Exception):
    """Standard output cannot be written. Not an OSError: many parts of libraries swallow those."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.broken_pipe = isinstance(error, BrokenPipeError)


class _Output(FileIO):
    """Standard output, whose first fault is an `OutputError`; what is written after it is dropped."""

    lost = False

    def write(self, data: object) -> int:
        """Write bytes, as a raw stream does."""
        size = memoryview(data).nbytes  # type: ignore[arg-type]  # whatever has a buffer
        if self.lost:
            return size
        try:
            return super().write(data) or 0  # type: ignore[arg-type]  # the same
        except OSError as error:
            self.lost = True
            raise OutputError(error) from error


class _Messages(_Output):
    """Standard error: when it is lost, nobody can be told."""

    def write(self, data: object) -> int:
        """Write bytes, or drop them."""
        try:
            return super().write(data)
        except OutputError:
            return memoryview(data).nbytes  # type: ignore[arg-type]  # whatever has a buffer


def run(command: click.Command) -> int:
    """Run the command of this process's arguments; returns its exit status."""
    know_environment(os.environ)
    _replace_streams()
    try:
        status = end_of(lambda: command.main(prog_name="unmask", standalone_mode=False))
        sys.stdout.flush()
    except OutputError as error:
        return _without_output(error)
    return status


def _replace_streams() -> None:
    """A terminal that cannot show a name still gets its line; and nothing that is written to stderr is secret."""
    for number in range(3):  # else a database's file could get the number of a stream that is closed
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = TextIOWrapper(
        BufferedWriter(_Output(1, "w", closefd=False)), _encoding(sys.stdout), "backslashreplace", line_buffering=True
    )
    sys.stderr = RedactedStream(
        BufferedWriter(_Messages(2, "w", closefd=False)), _encoding(sys.stderr), "backslashreplace", write_through=True
    )


def _encoding(stream: object) -> str:
    return stream.encoding if isinstance(stream, TextIOWrapper) else "utf-8"


def end_of(work: Callable[[], object]) -> int:
    """The exit status of a command's work; errors that we know become a line on stderr, and others are raised."""
    try:
        status = work()
    except SystemExit as error:
        return _say(error.code, FAILED) if isinstance(error.code, str) else error.code or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return _say("Aborted!", FAILED)
    except Exception as error:
        line = _line_about(error)
        if line is None:
            raise
        return _say(f"Error: {line}", WRONG_USE)
    return status if isinstance(status, int) else 0  # click ended the command with a status; else it just ended


def _line_about(error: Exception) -> str | None:
    """What to tell the user; None for an error that we do not know, which keeps its traceback."""
    if isinstance(error, ModuleNotFoundError) and error.name in OPTIONAL:
        return f"{error.name} is not installed: install unmask[worker] or unmask[trainer]"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error) if _known(error) else None


def _say(line: str, status: int) -> int:
    click.echo(redacted(line), err=True)
    return status


def _without_output(error: OutputError) -> int:
    from db.store.session import Database

    if Database.committed:
        return _say(f"Warning: it is done and recorded, but its output is lost: {error}", 0)
    return FAILED if error.broken_pipe else _say(f"Error: standard output cannot be written: {error}", FAILED)


def _known(error: Exception) -> bool:
    from db.errors import DbError
    from trainer.errors import TrainerError
    from worker.core.errors import WorkerError

    return isinstance(error, DbError | TrainerError | WorkerError)
