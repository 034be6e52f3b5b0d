"""The process's log, ours and every library's: one JSON line per event, or readable text on a terminal.

Our modules use `logging` as libraries do, and structlog formats it all in one place. `db.redaction` removes secrets
from whole events, after their arguments and tracebacks are filled in (so also from what libraries log) and before they
become JSON, so that JSON stays valid.
"""

import logging
import os
import sys
import threading
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from db.redaction import know_environment, redacted
from worker.core.settings import LogSettings

#: The fields of an image's line beside its outcome; what libraries add to their events is left out.
IMAGE_FIELDS = (
    *("image", "attempt", "model", "reason", "detail", "left_out"),
    *("wait_s", "fetch_s", "decode_s", "forward_s", "record_s", "total_s"),
)
#: Celery logs two lines a message at "info".
_VERBOSE = ("celery.worker.strategy", "celery.app.trace")


def configure(settings: LogSettings, level: int | None = None, stream: TextIO = sys.stderr) -> None:
    """Log to a stream at ``level``, or at the settings' level when it is None; replaces any earlier handler."""
    know_environment(os.environ)
    level = getattr(logging, settings.log_level.upper()) if level is None else level
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(settings.log_format, stream))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _VERBOSE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def formatter(log_format: str, stream: TextIO) -> logging.Formatter:
    """The formatter for ``log_format``; "auto" is text when the stream is a terminal, else JSON."""
    terminal = stream.isatty()
    text = log_format == "text" or (log_format == "auto" and terminal)
    last: Processor = structlog.dev.ConsoleRenderer(colors=terminal) if text else structlog.processors.JSONRenderer()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(allow=IMAGE_FIELDS),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.StackInfoRenderer(),
            redact,
            last,
        ],
    )


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
    """Log an uncaught exception in the same format as everything else."""
    if error is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
        logging.getLogger(__name__).critical("uncaught exception", exc_info=(kind, error, trace))


def redact(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Redact every value of an event; a structlog processor, to run before JSON adds quotes that would be cut off."""
    return {key: value if _harmless(value) else redacted(str(value)) for key, value in event.items()}


def _harmless(value: object) -> bool:
    return value is None or isinstance(value, int | float)
